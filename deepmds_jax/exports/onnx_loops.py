"""Rules of loops and branches."""

import functools

import numpy as np

from deepmds_jax.exports.onnx_graph import Graph, Value
from deepmds_jax.exports.onnx_layout import pick
from deepmds_jax.exports.onnx_rules import by_entries, choose, rule, thin


@rule("while", by_entry=True)
def _while(graph, inputs, eqn):
    params = eqn.params
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond_consts, body_consts, start = (
        inputs[:split[0]], inputs[split[0]:split[1]], inputs[split[1]:])
    avals = eqn.outs

    def goes_on(state):
        return thin(graph.add(params["cond_jaxpr"], [*cond_consts, *state])[0])

    start = [graph.full(x, aval.shape) for x, aval in zip(start, avals, strict=True)]
    running = goes_on(start)
    batch = running.shape
    # Of a batch each goes on while its own condition holds. It travels with the state.
    beside = [running] if batch else []
    graph.begin_body()
    count, condition = graph.new(np.int64, ()), graph.new(bool, ())
    old = [graph.new(x.dtype, x.shape) for x in [*beside, *start]]

    def build():
        state = old[len(beside):]
        new = graph.add(params["body_jaxpr"], [*body_consts, *state])
        new = [graph.full(x, aval.shape) for x, aval in zip(new, avals, strict=True)]
        if not batch:
            return [goes_on(new), *new]
        new = [choose(graph, _with_rank(graph, old[0], len(after.shape)), after, before,
                       after.dtype) for after, before in zip(new, state, strict=True)]
        running = goes_on(new)
        return [_any(graph, running), running, *new]

    body = graph.body([count, condition, *old], build, "body")
    first = _any(graph, running) if batch else running
    found = graph.control("Loop", [None, first, *beside, *start],
                          [(x.dtype, x.shape) for x in old], body=body)
    return found[len(beside):]


def _any(graph: Graph, x: Value) -> Value:
    axes = np.arange(len(x.shape), dtype=np.int64)
    found = graph.emit("ReduceMax", [graph.cast(x, np.uint8), axes], np.uint8, (), keepdims=0)
    return graph.cast(found, bool)


def _with_rank(graph: Graph, x: Value, rank: int) -> Value:
    """Leading axes, with axes of length 1 behind them."""
    return graph.unsqueeze(x, range(len(x.shape), rank))


@rule("platform_index", by_entry=True)
def _platform(graph, inputs, eqn):
    # What is for all platforms runs many entries at once; what is for the CPU is for XLA's.
    platforms = eqn.params["platforms"]
    general = [i for i, names in enumerate(platforms) if names is None]
    return np.array(general[0] if general else 0, np.int32)


@rule("cond", by_entry=True)
def _cond(graph, inputs, eqn):
    which, *args = inputs
    branches = eqn.params["branches"]
    if isinstance(which, np.ndarray):
        return graph.add(branches[int(np.clip(which, 0, len(branches) - 1))], args)
    if len(branches) != 2:
        raise ValueError(f"onnx: no rule for one of {len(branches)} functions")
    bodies = []
    for name, branch in zip(("else_branch", "then_branch"), branches, strict=True):
        graph.begin_body(is_branch=True)
        bodies.append((name, graph.body([], functools.partial(
            lambda branch: [graph.full(x, aval.shape) for x, aval in zip(
                graph.add(branch, args), eqn.outs, strict=True)], branch), name)))
    which = by_entries(graph, "Greater", [which, np.array(0, which.dtype)], bool)
    return graph.control("If", [which], [(aval.dtype, aval.shape) for aval in eqn.outs],
                         **dict(bodies))


_FEW = 4  # rounds of a loop that are written out


@rule("scan")
def _scan(graph, inputs, eqn):
    params = eqn.params
    length = params["length"]
    if length == 0:
        raise ValueError("onnx: no rule for a loop of no rounds")
    if "ft_in" in params:  # since JAX 0.12
        num_consts, num_carry, _ = map(len, params["ft_in"].unpack())
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
    consts, carry = inputs[:num_consts], list(inputs[num_consts:num_consts + num_carry])
    avals = eqn.outs[:num_carry]
    arrays = [graph.full(x, aval.shape) for x, aval in zip(
        inputs[num_consts + num_carry:], eqn.ins[num_consts + num_carry:], strict=True)]

    def advance(carry, place):
        found = graph.add(params["jaxpr"], [
            *consts, *carry, *(pick(graph, x, 0, place) for x in arrays)])
        carry = [graph.full(x, aval.shape) for x, aval in zip(found[:num_carry], avals,
                                                              strict=True)]
        return carry, [graph.full(x, aval.shape[1:]) for x, aval in zip(
            found[num_carry:], eqn.outs[num_carry:], strict=True)]

    if isinstance(length, int) and length <= _FEW:
        rounds: list[list[Value]] = [[] for _ in range(length)]
        for i in range(length)[::-1] if params["reverse"] else range(length):
            carry, rounds[i] = advance(carry, i)
        stacked = []
        for parts, aval in zip(zip(*rounds, strict=True), eqn.outs[num_carry:], strict=True):
            parts = [graph.unsqueeze(x, [0]) for x in parts]
            stacked.append(graph.emit("Concat", parts, aval.dtype, aval.shape, axis=0))
        return [*carry, *stacked]
    if params["reverse"]:
        raise ValueError("onnx: no rule for a long loop that runs backwards")
    graph.begin_body()
    count, goes_on = graph.new(np.int64, ()), graph.new(bool, ())
    start = [graph.full(x, aval.shape) for x, aval in zip(carry, avals, strict=True)]
    state = [graph.new(x.dtype, x.shape) for x in start]

    def build():
        carry, parts = advance(state, count)
        return [np.array(True), *carry, *parts]

    body = graph.body([count, goes_on, *state], build, "body")
    return graph.control(
        "Loop", [graph.shape_tensor([length]), None, *start],
        [(aval.dtype, aval.shape) for aval in eqn.outs], body=body)
