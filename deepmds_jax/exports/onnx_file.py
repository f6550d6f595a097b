"""A function of JAX as an ONNX file."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import ClosedJaxpr, Literal

# The modules of rules, which importing registers.
from deepmds_jax.exports import onnx_layout, onnx_loops, onnx_order, onnx_places  # noqa: F401
from deepmds_jax.exports.functions import Exported
from deepmds_jax.exports.onnx_graph import IR_VERSION, MANY, OPSET, Graph, Tensor, Value
from deepmds_jax.exports.onnx_rules import RULES, WITHOUT_LEADING
from deepmds_jax.extras import require

SUFFIX, BATCH, LOCKSTEP, COMPACT = ".onnx", None, True, True

_PRODUCER = "deepmds_jax"

# Primitives that call a function, and the parameter that has it.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "eval_jaxpr": "call_jaxpr",
          "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
          "custom_vmap_call": "call", "remat": "jaxpr", "checkpoint": "jaxpr"}


@dataclasses.dataclass(frozen=True)
class Equation:
    """One step of a function, all calls of which are written out.

    Attributes:
      primitive: its name.
      bind: computes it.
      inputs: what it takes, a number of a value or an array.
      ins, outs: what JAX knows of inputs and outputs.
      outputs: the numbers of what it gives.
      params: of the primitive.
    """

    primitive: str
    bind: Any
    inputs: Sequence[int | np.ndarray]
    ins: Sequence[Any]
    outs: Sequence[Any]
    outputs: Sequence[int]
    params: Mapping[str, Any]


def convert(graph: Graph, jaxpr: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
    """Adds a function to the graph.

    Args:
      graph: to add to.
      jaxpr: the function.
      args: its arguments.

    Returns:
      Its results, stored as `Tensor` says.
    """
    equations: list[Equation] = []
    count = len(args)
    outputs, count = _write_out(jaxpr, list(range(count)), equations, count)
    values: dict[int, Value] = dict(enumerate(args))
    later = _compute_known(equations, values, outputs)
    for equation in later:
        if equation.primitive not in RULES:
            raise ValueError(f"onnx: no rule for the primitive {equation.primitive} of JAX")
        if any(aval.dtype == jnp.bfloat16 for aval in equation.outs):  # runtimes cannot compute it
            raise ValueError("onnx: no rule for bfloat16")
        inputs = [x if isinstance(x, np.ndarray) else values[x] for x in equation.inputs]
        if equation.primitive not in WITHOUT_LEADING:
            inputs = [graph.unsqueeze(x, range(len(aval.shape) - len(x.shape)))
                      for x, aval in zip(inputs, equation.ins, strict=True)]
        found = RULES[equation.primitive](graph, inputs, equation)
        found = [found] if isinstance(found, Tensor | np.ndarray) else found
        values.update(zip(equation.outputs, found, strict=True))
    return [x if isinstance(x, np.ndarray) else values[x] for x in outputs]


def _write_out(
    jaxpr: ClosedJaxpr, args: Sequence[int | np.ndarray], equations: list[Equation], count: int
) -> tuple[list[int | np.ndarray], int]:
    """Appends the equations of a function, and of those it calls; returns its results."""
    names: dict[Any, int | np.ndarray] = dict(zip(jaxpr.jaxpr.invars, args, strict=True))
    names.update(zip(jaxpr.jaxpr.constvars, map(np.asarray, jaxpr.consts), strict=True))

    def read(atom: Any) -> int | np.ndarray:
        if isinstance(atom, Literal):
            dtype = atom.aval.dtype  # pyright: ignore[reportAttributeAccessIssue] (an array's)
            return np.asarray(atom.val, dtype)
        return names[atom]

    for eqn in jaxpr.jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        called = eqn.params.get(_CALLS.get(eqn.primitive.name, ""))
        if eqn.primitive.name == "call_hi_primitive":  # custom_root, since JAX 0.12
            called = _expanded(eqn.params["_prim"], [atom.aval for atom in eqn.invars])
        name = _name(eqn)
        if called is not None and name == eqn.primitive.name:
            called = called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())
            outputs, count = _write_out(called, inputs, equations, count)
        else:
            outputs = list(range(count, count + len(eqn.outvars)))
            count += len(outputs)
            equations.append(Equation(
                name, eqn.primitive, inputs, [x.aval for x in eqn.invars],
                [x.aval for x in eqn.outvars], outputs, eqn.params))
        names.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.jaxpr.outvars], count


def _expanded(primitive: Any, avals: Sequence[Any]) -> ClosedJaxpr:
    """What a primitive that is written in terms of others does."""
    def expand(*flat):
        return primitive.expand(*jax.tree.unflatten(primitive.in_tree, flat))

    specs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return jax.make_jaxpr(expand)(*specs)


def _name(eqn: Any) -> str:
    """The name of the rule of an equation: some functions of JAX have one as a whole.

    Not where `vmap` has put the batch axes of their arguments at different places.
    """
    name = f"jit:{eqn.params.get('name')}"
    if name not in RULES:
        return eqn.primitive.name
    shapes = {atom.aval.shape for atom in (*eqn.invars, *eqn.outvars)}
    moved = any(inner.primitive.name == "transpose" for inner in eqn.params["jaxpr"].jaxpr.eqns)
    return eqn.primitive.name if len(shapes) > 1 or moved else name


def _compute_known(
    equations: Sequence[Equation], values: dict[int, Value], outputs: Sequence[int | np.ndarray]
) -> list[Equation]:
    """Computes what depends on no input, all at once; returns the other equations."""
    # The numbers that each takes in the file.
    known = {i: value.size for i, value in values.items() if isinstance(value, np.ndarray)}
    now, later = [], []
    for equation in equations:
        if all(isinstance(x, np.ndarray) or x in known for x in equation.inputs) and all(
                isinstance(n, int) for aval in equation.outs for n in aval.shape):
            taken = sum(x.size if isinstance(x, np.ndarray) else known[x] for x in equation.inputs)
            sizes = [math.prod(aval.shape) for aval in equation.outs]
            if not _is_left(equation.primitive, taken, sum(sizes)):
                known.update(zip(equation.outputs, sizes, strict=True))
                now.append(equation)
                continue
        later.append(equation)
    wanted = {x for equation in later for x in equation.inputs if not isinstance(x, np.ndarray)}
    wanted |= {x for x in outputs if not isinstance(x, np.ndarray)}
    wanted = sorted(x for x in wanted & known.keys() if x not in values)
    if wanted:
        given = {i: value for i, value in values.items() if isinstance(value, np.ndarray)}

        def compute():
            found: dict[int, Any] = dict(given)
            for equation in now:
                inputs = [_full(x if isinstance(x, np.ndarray) else found[x], aval.shape)
                          for x, aval in zip(equation.inputs, equation.ins, strict=True)]
                results = equation.bind.bind(*inputs, **equation.params)
                results = results if equation.bind.multiple_results else [results]
                found.update(zip(equation.outputs, results, strict=True))
            return [found[x] for x in wanted]

        values.update(zip(wanted, map(np.asarray, jax.jit(compute)()), strict=True))
    return later


def _full(array: Any, shape: Sequence[Any]) -> Any:
    """An array with the axes that JAX knows, some of which are not stored."""
    is_full = array.shape == tuple(shape) or not all(isinstance(n, int) for n in shape)
    return array if is_full else jnp.broadcast_to(array, shape)


def _is_left(primitive: str, num_in: int, num_out: int) -> bool:
    """Whether what is known now is left to be computed when the file is loaded: to save bytes."""
    if primitive == "platform_index":  # JAX would answer for the machine that exports
        return True
    grows = num_out > MANY and num_out > 1.5 * num_in
    return primitive in RULES and (
        grows or (primitive == "transpose" and num_out > MANY))


def check_installed() -> None:
    """Raises ImportError where a package is not installed."""
    require("onnx", "export")
    require("onnxruntime", "export")


def write(exported: Exported, batch: int | None, exact: bool) -> bytes:
    """The function as the bytes of a file; see `targets.Format`."""
    onnx = require("onnx", "export")
    length = export.symbolic_shape("batch")[0] if batch is None else batch
    specs = exported.specs(length)
    traced = jax.jit(exported.function).trace(*specs.values())
    names = list(traced.out_info)
    args = [Tensor(name, np.dtype(spec.dtype), tuple(spec.shape), 0)
            for name, spec in specs.items()]
    graph = Graph({str(length): (args[0], 0)}, convert)
    found = convert(graph, traced.jaxpr, args)
    outputs = [graph.name_output(graph.full(value, aval.shape), name)
               for name, value, aval in zip(names, found, traced.jaxpr.out_avals, strict=True)]
    nodes, arrays = graph.finish(names, compact=not exact)
    body = onnx.helper.make_graph(
        nodes, "deepmds_jax", [graph.declare(arg) for arg in args], outputs, arrays)
    model = onnx.helper.make_model(
        body, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name=_PRODUCER)
    return model.SerializeToString()


def runner(data: bytes) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Runs the bytes of a file on inputs by name."""
    onnxruntime = require("onnxruntime", "export")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with metadata."""
    onnx = require("onnx", "export")
    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def read_metadata(data: bytes) -> dict[str, str]:
    """The metadata of a file."""
    onnx = require("onnx", "export")
    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf's; it names no class of its own
        raise ValueError(f"no ONNX file: {error}") from error
    if model.producer_name != _PRODUCER:
        raise ValueError("an ONNX file of another program")
    return {entry.key: entry.value for entry in model.metadata_props}
