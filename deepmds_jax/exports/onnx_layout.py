"""Rules of primitives that move, join, sum up and multiply arrays."""

import math
from typing import Any

import numpy as np

from deepmds_jax.exports.onnx_graph import Graph, Tensor, Value
from deepmds_jax.exports.onnx_rules import Rule, as_known, rule, widened


@rule("broadcast_in_dim")
def _broadcast(graph, inputs, eqn):
    places = [int(axis) for axis in eqn.params["broadcast_dimensions"]]
    new = [axis for axis in range(len(eqn.params["shape"])) if axis not in places]
    # Leading axes need not be stored.
    leading = next((i for i, axis in enumerate(new) if axis != i), len(new))
    return graph.unsqueeze(inputs[0], [axis - leading for axis in new[leading:]])


@rule("squeeze")
def _squeeze(graph, inputs, eqn):
    return graph.squeeze(inputs[0], eqn.params["dimensions"])


@rule("reshape")
def _reshape(graph, inputs, eqn):
    return graph.reshape(graph.full(inputs[0], eqn.ins[0].shape), eqn.outs[0].shape)


@rule("transpose")
def _transpose(graph, inputs, eqn):
    return graph.transpose(inputs[0], eqn.params["permutation"])


@rule("concatenate")
def _concatenate(graph, inputs, eqn):
    axis, shape = int(eqn.params["dimension"]), eqn.outs[0].shape
    return _joined(graph, inputs, [aval.shape for aval in eqn.ins], axis, shape)


def _joined(graph, inputs, shapes, axis, shape):
    """Joins along an axis; another one is stored in full only if it is so in some part."""
    common = [n if i == axis or any(is_long(x.shape[i]) for x in inputs) else 1
              for i, n in enumerate(shape)]
    parts = [graph.full(x, [full if i == axis else n
                            for i, (full, n) in enumerate(zip(whole, common, strict=True))])
             for x, whole in zip(inputs, shapes, strict=True)]
    # Of parts that are joined along the same axis, all together at once.
    makers = [graph.maker(part) for part in parts]
    parts = [piece for part, (op, pieces, attributes) in zip(parts, makers, strict=True)
             for piece in (pieces if op == "Concat" and attributes["axis"] == axis else [part])]
    return graph.emit("Concat", parts, parts[0].dtype, common, axis=axis)


def is_long(length: Any) -> bool:
    return not isinstance(length, int) or length != 1


@rule("stack")
def _stack(graph, inputs, eqn):
    axis, shape = int(eqn.params["axis"]), eqn.outs[0].shape
    whole = eqn.ins[0].shape
    if axis < len(whole):  # joined, then parted: fewer nodes
        length = whole[axis] * len(inputs)
        joined = _joined(graph, inputs, [whole] * len(inputs), axis,
                         (*whole[:axis], length, *whole[axis + 1:]))
        stored = (*joined.shape[:axis], len(inputs), whole[axis], *joined.shape[axis + 1:])
        return graph.reshape(joined, stored)
    parts = [graph.unsqueeze(x, [axis]) for x in inputs]
    shapes = [[1 if i == axis else n for i, n in enumerate(shape)]] * len(parts)
    return _joined(graph, parts, shapes, axis, shape)


@rule("unstack")
def _unstack(graph, inputs, eqn):
    axis = int(eqn.params["axis"])
    return [pick(graph, inputs[0], axis, i) for i in range(len(eqn.outs))]


def pick(graph: Graph, x: Value, axis: int, place: int | Tensor) -> Value:
    """One place along an axis, without the axis."""
    if x.shape[axis] == 1:
        return graph.squeeze(x, [axis])
    if isinstance(x, np.ndarray) and not isinstance(place, Tensor):
        return x.take(place, axis)
    index = place if isinstance(place, Tensor) else np.array(place)
    return graph.emit("Gather", [x, index], x.dtype,
                      (*x.shape[:axis], *x.shape[axis + 1:]), axis=axis)


@rule("slice")
def _slice(graph, inputs, eqn):
    x, params = inputs[0], eqn.params
    starts, strides = params["start_indices"], params["strides"] or (1,) * len(x.shape)
    cut = [axis for axis, (full, out) in enumerate(
        zip(eqn.ins[0].shape, eqn.outs[0].shape, strict=True)) if full != out
        and is_long(x.shape[axis])]
    return sliced(graph, x, cut, starts, params["limit_indices"], strides, eqn.outs[0].shape)


def sliced(graph, x, axes, starts, limits, strides, lengths):
    if not axes:
        return x
    shape = [lengths[axis] if axis in axes else n for axis, n in enumerate(x.shape)]
    parts = [[int(values[axis]) for axis in axes] for values in (starts, limits)]
    steps = [int(strides[axis]) for axis in axes]
    return graph.emit("Slice", [x, *(np.array(part, np.int64) for part in (*parts, axes, steps))],
                      x.dtype, shape)


@rule("rev")
def _reverse(graph, inputs, eqn):
    axes = [int(axis) for axis in eqn.params["dimensions"]]
    x = inputs[0]
    num = len(axes)
    end = np.iinfo(np.int64).min
    return graph.emit("Slice", [x, *(np.array(v, np.int64) for v in (
        [-1] * num, [end] * num, axes, [-1] * num))], x.dtype, x.shape)


@rule("pad")
def _pad(graph, inputs, eqn):
    x, value = inputs
    config = eqn.params["padding_config"]
    # Negative padding cuts off, in ONNX too.
    x = graph.full(x, [full if any(pad) else n for pad, full, n in zip(
        config, eqn.ins[0].shape, x.shape, strict=True)])
    for axis, (*_, between) in enumerate(config):
        if between and x.shape[axis] > 1:
            x = _spread(graph, x, value, axis, between)
    pads = np.array([low for low, *_ in config] + [high for _, high, _ in config], np.int64)
    shape = [out if low or high else n for (low, high, _), out, n in zip(
        config, eqn.outs[0].shape, x.shape, strict=True)]
    if not any(pads):
        return x
    return as_known(graph, lambda x, value: graph.emit(
        "Pad", [x, pads, value], x.dtype, shape), x, value)


def _spread(graph: Graph, x: Value, value: Value, axis: int, between: int) -> Value:
    """The entries along an axis with others between them; no others behind the last one."""
    length = x.shape[axis]
    apart = graph.unsqueeze(x, [axis + 1])
    shape = (*x.shape[:axis + 1], between, *x.shape[axis + 1:])
    filling = graph.full(graph.unsqueeze(value, range(len(shape))), shape)
    joined = (*x.shape[:axis + 1], between + 1, *x.shape[axis + 1:])
    x = graph.emit("Concat", [apart, filling], x.dtype, joined, axis=axis + 1)
    x = graph.reshape(x, (*x.shape[:axis], length * (between + 1), *x.shape[axis + 2:]))
    lengths = [n - between if i == axis else n for i, n in enumerate(x.shape)]
    return sliced(graph, x, [axis], [0] * len(lengths), lengths, [1] * len(lengths), lengths)


@rule("iota")
def _iota(graph, inputs, eqn):
    axis, shape = int(eqn.params["dimension"]), eqn.outs[0].shape
    if not isinstance(shape[axis], int):
        raise ValueError(f"onnx: no rule for counting to {shape[axis]}")
    count = np.arange(shape[axis], dtype=eqn.params["dtype"])
    return count.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _reduction(op: str, as_dtype: Any = None) -> Rule:
    # Of NaN, ONNX does not say what the largest and the smallest are.
    def convert(graph, inputs, eqn):
        axes = [int(axis) for axis in eqn.params["axes"]]
        x = inputs[0]
        if op in ("ReduceSum", "ReduceProd"):
            x = graph.full(x, [full if axis in axes else n for axis, (full, n) in enumerate(
                zip(eqn.ins[0].shape, x.shape, strict=True))])
        shape = [n for axis, n in enumerate(x.shape) if axis not in axes]
        if not axes:
            return x
        given = x if as_dtype is None else graph.cast(x, as_dtype)
        found = graph.emit(op, [given, np.array(axes, np.int64)], given.dtype, shape, keepdims=0)
        return graph.cast(found, eqn.outs[0].dtype)

    return convert


for _primitive, _op, _as in (
    ("reduce_sum", "ReduceSum", None), ("reduce_prod", "ReduceProd", None),
    ("reduce_max", "ReduceMax", None), ("reduce_min", "ReduceMin", None),
    ("reduce_and", "ReduceMin", np.uint8), ("reduce_or", "ReduceMax", np.uint8),
):
    rule(_primitive)(_reduction(_op, _as))


@rule("argmin", "argmax")
def _arg(graph, inputs, eqn):
    axis, = (int(axis) for axis in eqn.params["axes"])
    x = graph.full(inputs[0], [n if i == axis else stored for i, (n, stored) in enumerate(
        zip(eqn.ins[0].shape, inputs[0].shape, strict=True))])
    op = "ArgMin" if eqn.primitive == "argmin" else "ArgMax"
    shape = [n for i, n in enumerate(x.shape) if i != axis]
    found = graph.emit(op, [widened(graph, x)], np.int64, shape, axis=axis, keepdims=0)
    return graph.cast(found, eqn.params["index_dtype"])


@rule("dot_general")
def _dot(graph, inputs, eqn):
    (left_sum, right_sum), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    left, right = (graph.cast(x, eqn.outs[0].dtype) for x in inputs)
    sums = [eqn.ins[0].shape[axis] for axis in left_sum]
    left = _stored(graph, left, left_sum, sums)
    right = _stored(graph, right, right_sum, sums)
    left_free, right_free = (
        [axis for axis in range(len(x.shape)) if axis not in (*summed, *batch)]
        for x, summed, batch in ((left, left_sum, left_batch), (right, right_sum, right_batch)))
    if len(left_sum) == 1 and not left_batch and len(right_free) <= 1:
        left = graph.transpose(left, [*left_free, *left_sum])
        right = graph.transpose(right, [*right_sum, *right_free])
        return _matmul(graph, left, right, (*left.shape[:-1], *right.shape[1:]))
    if len(left_sum) == 1 and not left_batch and len(right_free) > 1 and len(left_free) == 1:
        # the other way round, for only the left one of a product has free leading axes
        right = graph.transpose(right, [*right_free, *right_sum])
        left = graph.transpose(left, [*left_sum, *left_free])
        found = _matmul(graph, right, left, (*right.shape[:-1], left.shape[-1]))
        rank = len(found.shape)
        return graph.transpose(found, [rank - 1, *range(rank - 1)])
    left = graph.transpose(left, [*left_batch, *left_free, *left_sum])
    right = graph.transpose(right, [*right_batch, *right_sum, *right_free])
    num_batch = len(left_batch)
    batch = [a if is_long(a) else b for a, b in zip(
        left.shape[:num_batch], right.shape[:num_batch], strict=True)]
    rows = left.shape[num_batch:num_batch + len(left_free)]
    columns = right.shape[num_batch + len(right_sum):]
    left = graph.reshape(left, (*left.shape[:num_batch], math.prod(rows), math.prod(sums)))
    right = graph.reshape(right, (*right.shape[:num_batch], math.prod(sums), math.prod(columns)))
    found = _matmul(graph, left, right, (*batch, math.prod(rows), math.prod(columns)))
    return graph.reshape(found, (*batch, *rows, *columns))


def _stored(graph, x, axes, lengths):
    shape = list(x.shape)
    for axis, length in zip(axes, lengths, strict=True):
        shape[axis] = length
    return graph.full(x, shape)


def _matmul(graph, left, right, shape):
    return graph.emit("MatMul", [left, right], left.dtype, shape)
