"""What the primitives of JAX are in ONNX: one rule each."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.lax import GatherScatterMode

from deepmds_jax.exports.onnx_graph import Graph, Tensor, Value

# Of a primitive: the graph, its inputs, the avals of inputs and outputs, its parameters -> outputs.
Rule = Callable[..., Value | Sequence[Value]]
RULES: dict[str, Rule] = {}
# Of those that work entry by entry, or do not care: their inputs may lack leading axes.
WITHOUT_LEADING: set[str] = set()


def rule(*primitives: str, by_entries: bool = False) -> Callable[[Rule], Rule]:
    """Registers the rule of some primitives, and whether they work entry by entry."""

    def register(function: Rule) -> Rule:
        for primitive in primitives:
            RULES[primitive] = function
            if by_entries:
                WITHOUT_LEADING.add(primitive)
        return function

    return register


def _together(inputs: Sequence[Value]) -> tuple[Any, ...]:
    """The stored shape of a function of entries."""
    rank = max(len(x.shape) for x in inputs)
    shapes = [(1,) * (rank - len(x.shape)) + tuple(x.shape) for x in inputs]
    return tuple(next((n for n in lengths if not (isinstance(n, int) and n == 1)), 1)
                 for lengths in zip(*shapes, strict=True))


def _thin(value: Value) -> Value:
    """An array without the axes along which all entries are equal."""
    if not isinstance(value, np.ndarray) or value.size < 2:
        return value
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if value.shape[axis] > 1 and np.array_equal(
                np.broadcast_to(first, value.shape), value,
                equal_nan=value.dtype.kind == "f"):
            value = first
    return value


# What leaves the other one of two inputs as it is. (x + 0 is 0 where x is -0, which is equal to 0.)
_NEUTRAL = {"Add": 0, "Mul": 1, "Min": np.inf, "Max": -np.inf, "And": True, "Or": False}


def _by_entries(graph: Graph, op: str, inputs: Sequence[Value], dtype: Any, **attributes) -> Value:
    inputs = [_thin(x) for x in inputs]
    shape = _together(inputs)
    if op in _NEUTRAL:
        for x, other in (inputs, inputs[::-1]):
            if isinstance(x, np.ndarray) and x.size == 1 and x.item() == _NEUTRAL[op] and (
                    tuple(other.shape) == shape):
                return other
    if op == "Mul" and (argument := _gelu_of(graph, *inputs)) is not None:
        return graph.emit("Gelu", [argument], dtype, shape, approximate="tanh")
    if op == "Div" and isinstance(inputs[1], np.ndarray) and inputs[1].size == 1:
        made, summed, attributes_of_sum = graph.maker(inputs[0])
        if made == "ReduceSum" and inputs[1].item() == _count(summed):
            return graph.emit("ReduceMean", summed, dtype, shape, **attributes_of_sum)
    if op == "Min" and isinstance(inputs[0], np.ndarray) and inputs[0].size == 1:
        made, bounded, _ = graph.maker(inputs[1])
        low = next((x for x in bounded if isinstance(x, np.ndarray) and x.size == 1), None)
        if made == "Max" and low is not None and dtype == np.float32:
            x = bounded[0] if bounded[1] is low else bounded[1]
            return graph.emit("Clip", [x, low.reshape(()), inputs[0].reshape(())], dtype, shape)
    return graph.emit(op, inputs, dtype, shape, **attributes)


def _gelu_of(graph: Graph, x: Value, share: Value) -> Value | None:
    """x, where the share of it that remains is (1 + tanh(a (x + b x^3))) / 2, as `jax.nn.gelu`."""
    for op, constant in ("Mul", 0.5), ("Add", 1), ("Tanh", None), ("Mul", math.sqrt(2 / math.pi)):
        made, inputs, _ = graph.maker(share)
        if made != op or constant is not None and not (
                isinstance(inputs[0], np.ndarray) and np.allclose(inputs[0], constant)):
            return None
        share = inputs[-1]
    made, inputs, _ = graph.maker(share)
    return x if made == "Add" and inputs[0] is x else None


def _count(summed: Sequence[Value]) -> int | None:
    """How many entries a sum is of; None if that is not known."""
    lengths = [summed[0].shape[axis] for axis in np.asarray(summed[1])]
    return math.prod(lengths) if all(isinstance(n, int) for n in lengths) else None


def _add_by_entries(primitive: str, op: str, **attributes: Any) -> None:
    @rule(primitive, by_entries=True)
    def convert(graph, inputs, eqn):
        return _by_entries(graph, op, inputs, eqn.outs[0].dtype, **attributes)


for _primitive, _op in {
    "abs": "Abs", "add": "Add", "add_any": "Add", "ceil": "Ceil", "cos": "Cos", "div": "Div",
    "eq": "Equal", "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater",
    "le": "LessOrEqual", "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max",
    "min": "Min", "mul": "Mul", "neg": "Neg", "pow": "Pow", "sign": "Sign", "sin": "Sin",
    "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh",
}.items():
    _add_by_entries(_primitive, _op)
_add_by_entries("rem", "Mod", fmod=1)
_add_by_entries("shift_left", "BitShift", direction="LEFT")
_add_by_entries("shift_right_logical", "BitShift", direction="RIGHT")


@rule("and", "or", "not", "xor", by_entries=True)
def _logic(graph, inputs, eqn):
    name = eqn.primitive.capitalize()
    op = name if eqn.outs[0].dtype == bool else f"Bitwise{name}"
    return _by_entries(graph, op, inputs, eqn.outs[0].dtype)


@rule("ne", by_entries=True)
def _ne(graph, inputs, eqn):
    if inputs[0] is inputs[1] and inputs[0].dtype.kind == "f":
        return _by_entries(graph, "IsNaN", inputs[:1], bool)
    return _by_entries(graph, "Not", [_by_entries(graph, "Equal", inputs, bool)], bool)


@rule("square", by_entries=True)
def _square(graph, inputs, eqn):
    return _by_entries(graph, "Mul", [inputs[0], inputs[0]], eqn.outs[0].dtype)


@rule("rsqrt", by_entries=True)
def _rsqrt(graph, inputs, eqn):
    root = _by_entries(graph, "Sqrt", inputs, inputs[0].dtype)
    return graph.emit("Reciprocal", [root], root.dtype, root.shape)


@rule("integer_pow", by_entries=True)
def _integer_pow(graph, inputs, eqn):
    x, power = inputs[0], eqn.params["y"]
    result = x
    for _ in range(abs(power) - 1):
        result = _by_entries(graph, "Mul", [result, x], x.dtype)
    return _by_entries(graph, "Reciprocal", [result], x.dtype) if power < 0 else result


@rule("is_finite", by_entries=True)
def _is_finite(graph, inputs, eqn):
    size = _by_entries(graph, "Abs", inputs, inputs[0].dtype)
    return _by_entries(graph, "Less", [size, np.array(np.inf, size.dtype)], bool)


@rule("clamp", by_entries=True)
def _clamp(graph, inputs, eqn):
    low, x, high = inputs
    return _by_entries(graph, "Min", [_by_entries(graph, "Max", [x, low], x.dtype), high], x.dtype)


@rule("select_n", by_entries=True)
def _select(graph, inputs, eqn):
    which, *cases = inputs
    dtype = eqn.outs[0].dtype
    if which.dtype != bool:
        result = cases[0]
        for i, case in enumerate(cases[1:], 1):
            is_case = _by_entries(graph, "Equal", [which, np.array(i, which.dtype)], bool)
            result = _choose(graph, is_case, case, result, dtype)
        return result
    return _choose(graph, which, cases[1], cases[0], dtype)


def _choose(graph, condition, if_true, if_false, dtype):
    if dtype == bool:  # onnxruntime has no `Where` for it
        wrong = _by_entries(graph, "Not", [condition], bool)
        return _by_entries(graph, "Or", [
            _by_entries(graph, "And", [condition, if_true], bool),
            _by_entries(graph, "And", [wrong, if_false], bool)], bool)
    if dtype == np.uint32:
        as_signed = [graph.cast(x, np.int64) for x in (if_true, if_false)]
        return graph.cast(_by_entries(graph, "Where", [condition, *as_signed], np.int64), dtype)
    return _by_entries(graph, "Where", [condition, if_true, if_false], dtype)


@rule("convert_element_type", by_entries=True)
def _convert(graph, inputs, eqn):
    return graph.cast(_thin(inputs[0]), eqn.params["new_dtype"])


@rule("stop_gradient", "copy", "copy_p", "optimization_barrier", "reduce_precision", by_entries=True)
def _same(graph, inputs, eqn):
    return inputs


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
    common = [n if i == axis or any(_is_long(x.shape[i]) for x in inputs) else 1
              for i, n in enumerate(shape)]
    parts = [graph.full(x, [full if i == axis else n
                            for i, (full, n) in enumerate(zip(whole, common, strict=True))])
             for x, whole in zip(inputs, shapes, strict=True)]
    # Of parts that are joined along the same axis, all together at once.
    makers = [graph.maker(part) for part in parts]
    parts = [piece for part, (op, pieces, attributes) in zip(parts, makers, strict=True)
             for piece in (pieces if op == "Concat" and attributes["axis"] == axis else [part])]
    return graph.emit("Concat", parts, parts[0].dtype, common, axis=axis)


def _is_long(length: Any) -> bool:
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
    return [_pick(graph, inputs[0], axis, i) for i in range(len(eqn.outs))]


def _pick(graph: Graph, x: Value, axis: int, place: int) -> Value:
    """One place along an axis, without the axis."""
    if x.shape[axis] == 1:
        return graph.squeeze(x, [axis])
    if isinstance(x, np.ndarray):
        return x.take(place, axis)
    return graph.emit("Gather", [x, np.array(place)], x.dtype,
                      (*x.shape[:axis], *x.shape[axis + 1:]), axis=axis)


@rule("slice")
def _slice(graph, inputs, eqn):
    x, params = inputs[0], eqn.params
    starts, strides = params["start_indices"], params["strides"] or (1,) * len(x.shape)
    cut = [axis for axis, (full, out) in enumerate(
        zip(eqn.ins[0].shape, eqn.outs[0].shape, strict=True)) if full != out
        and _is_long(x.shape[axis])]
    return _cut(graph, x, cut, starts, params["limit_indices"], strides, eqn.outs[0].shape)


def _cut(graph, x, axes, starts, limits, strides, lengths):
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
    if any(inner for *_, inner in config):
        return _dilated(graph, x, value, eqn)
    # Negative padding cuts off, in ONNX too.
    x = graph.full(x, [full if low or high else n for (low, high, _), full, n in zip(
        config, eqn.ins[0].shape, x.shape, strict=True)])
    pads = np.array([low for low, *_ in config] + [high for _, high, _ in config], np.int64)
    shape = [out if low or high else n for (low, high, _), out, n in zip(
        config, eqn.outs[0].shape, x.shape, strict=True)]
    if x.dtype == bool or x.dtype == np.uint32:
        wide = graph.emit("Pad", [graph.cast(x, np.int32), pads, graph.cast(value, np.int32)],
                          np.int32, shape)
        return graph.cast(wide, x.dtype)
    return graph.emit("Pad", [x, pads, value], x.dtype, shape)


def _dilated(graph, x, value, eqn):
    raise ValueError("onnx: no rule for padding between the entries")


@rule("iota")
def _iota(graph, inputs, eqn):
    axis, shape = int(eqn.params["dimension"]), eqn.outs[0].shape
    if not isinstance(shape[axis], int):
        raise ValueError(f"onnx: no rule for counting to {shape[axis]}")
    count = np.arange(shape[axis], dtype=eqn.params["dtype"])
    return count.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _reduction(op: str, as_dtype: Any = None) -> Rule:
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
    return graph.cast(graph.emit(op, [x], np.int64, shape, axis=axis, keepdims=0),
                      eqn.params["index_dtype"])


@rule("dot_general")
def _dot(graph, inputs, eqn):
    (left_sum, right_sum), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    left, right = inputs
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
    num_batch, out = len(left_batch), eqn.outs[0].shape
    batch = [a if _is_long(a) else b for a, b in zip(
        left.shape[:num_batch], right.shape[:num_batch], strict=True)]
    rows = left.shape[num_batch:num_batch + len(left_free)]
    columns = right.shape[num_batch + len(right_sum):]
    left = graph.reshape(left, (*left.shape[:num_batch], math.prod(rows), math.prod(sums)))
    right = graph.reshape(right, (*right.shape[:num_batch], math.prod(sums), math.prod(columns)))
    found = _matmul(graph, left, right, (*batch, math.prod(rows), math.prod(columns)))
    del out
    return graph.reshape(found, (*batch, *rows, *columns))


def _stored(graph, x, axes, lengths):
    shape = list(x.shape)
    for axis, length in zip(axes, lengths, strict=True):
        shape[axis] = length
    return graph.full(x, shape)


def _matmul(graph, left, right, shape):
    return graph.emit("MatMul", [left, right], left.dtype, shape)


@rule("gather")
def _gather(graph, inputs, eqn):
    x, indices = inputs
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    x, indices = graph.full(x, eqn.ins[0].shape), graph.full(indices, eqn.ins[1].shape)
    operand_shape = eqn.ins[0].shape
    batch = [int(a) for a in numbers.operand_batching_dims]
    index_batch = [int(a) for a in numbers.start_indices_batching_dims]
    mapped = [int(a) for a in numbers.start_index_map]
    collapsed = [int(a) for a in numbers.collapsed_slice_dims]
    # A window of the whole axis starts at 0, whatever the index says, for it is clipped.
    whole = [a for a in mapped if sizes[a] == operand_shape[a] and a not in collapsed]
    indexed = [a for a in mapped if a not in whole]
    if any(sizes[a] != 1 for a in indexed) or any(
            sizes[a] != operand_shape[a] for a in range(len(sizes))
            if a not in mapped and a not in batch and a not in collapsed):
        return _windows(graph, x, indices, eqn)
    indices, missing = _in_bounds(graph, indices, mapped, indexed, eqn)
    lead = [int(n) for n in range(len(eqn.ins[1].shape) - 1)]
    offset = [int(a) for a in numbers.offset_dims]
    out_rank = len(eqn.outs[0].shape)
    places = [i for i in range(out_rank) if i not in offset]
    kept = [a for a in range(len(sizes)) if a not in collapsed and a not in batch]
    # kept axes that are indexed have length 1 in the result
    rest = [a for a in kept if a not in indexed]
    if not indexed:
        return x
    if not batch and len(indexed) == 1:
        axis = indexed[0]
        index = graph.squeeze(indices, [len(indices.shape) - 1])
        found = graph.emit(
            "Gather", [x, index], x.dtype,
            (*x.shape[:axis], *index.shape, *x.shape[axis + 1:]), axis=axis)
        before = [a for a in range(len(sizes)) if a < axis]
        axes = {a: a if a < axis else a - 1 + len(lead) for a in range(len(sizes)) if a != axis}
        lead_axes = [len(before) + i for i in lead]
    else:
        order = [*batch, *indexed, *rest]
        x = graph.transpose(x, order)
        other = [i for i in lead if i not in index_batch]
        indices = graph.transpose(indices, [*index_batch, *other, len(lead)])
        shape = (*indices.shape[:-1], *x.shape[len(batch) + len(indexed):])
        found = graph.emit("GatherND", [x, graph.cast(indices, np.int64)], x.dtype, shape,
                           batch_dims=len(batch))
        where = {axis: i for i, axis in enumerate([*index_batch, *other])}
        lead_axes = [where[i] for i in lead]
        axes = {a: len(lead) + i for i, a in enumerate(rest)}
    # put the axes where JAX has them
    order = [0] * (out_rank - sum(a in indexed for a in kept))
    out_places, new_axes, position = [], [], 0
    kept_iter = iter(kept)
    lead_iter = iter(lead_axes)
    for i in range(out_rank):
        if i in places:
            out_places.append(next(lead_iter))
        else:
            axis = next(kept_iter)
            if axis in indexed:
                new_axes.append(i)
                continue
            out_places.append(axes[axis])
    del order, position
    found = graph.transpose(found, out_places)
    found = graph.unsqueeze(found, new_axes)
    if missing is None:
        return found
    missing = graph.unsqueeze(missing, offset)
    fill = eqn.params["fill_value"]
    fill = np.nan if fill is None and found.dtype.kind == "f" else fill or 0
    return _choose(graph, missing, np.array(fill, found.dtype), found, found.dtype)


def _in_bounds(graph, indices, mapped, indexed, eqn):
    """Indices of the indexed axes that lie in them, and (...) which did not, if that matters."""
    columns = [mapped.index(a) for a in indexed]
    if columns != list(range(len(mapped))):
        if isinstance(indices, np.ndarray):
            indices = indices[..., columns]
        else:
            last = len(indices.shape) - 1
            indices = graph.emit("Gather", [indices, np.array(columns)], indices.dtype,
                                 (*indices.shape[:-1], len(columns)), axis=last)
    limits = np.array([eqn.ins[0].shape[a] - 1 for a in indexed], indices.dtype)
    if isinstance(indices, np.ndarray):
        clipped = np.clip(indices, 0, limits)
        if np.array_equal(clipped, indices):
            return indices, None
    mode = eqn.params["mode"]
    if mode == GatherScatterMode.PROMISE_IN_BOUNDS:
        return indices, None
    low = np.zeros_like(limits)
    clipped = _by_entries(
        graph, "Min", [_by_entries(graph, "Max", [indices, low], indices.dtype), limits],
        indices.dtype)
    if mode == GatherScatterMode.CLIP:
        return clipped, None
    differs = _by_entries(graph, "Sub", [indices, clipped], indices.dtype)
    differs = _by_entries(graph, "Abs", [differs], indices.dtype)
    most = graph.emit("ReduceMax", [differs, np.array([len(differs.shape) - 1], np.int64)],
                      differs.dtype, differs.shape[:-1], keepdims=0)
    return clipped, _by_entries(graph, "Greater", [most, np.array(0, most.dtype)], bool)


def _windows(graph, x, indices, eqn):
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    if not isinstance(indices, np.ndarray) or indices.ndim > 1:
        raise ValueError(f"onnx: no rule for windows of {sizes}")
    starts = [0] * len(sizes)
    for axis, start in zip(numbers.start_index_map, indices, strict=True):
        starts[axis] = int(start)
    cut = [a for a, (full, size) in enumerate(zip(x.shape, sizes, strict=True)) if full != size]
    limits = [start if a not in cut else start + sizes[a] for a, start in enumerate(starts)]
    if any(starts[a] < 0 or limits[a] > x.shape[a] for a in cut):
        raise ValueError("onnx: no rule for windows that reach out")
    x = _cut(graph, x, cut, starts, limits, [1] * len(sizes), sizes)
    return graph.squeeze(x, numbers.collapsed_slice_dims)


@rule("jit:cross")
def _cross(graph, inputs, eqn):
    # Both have the vectors on their last axis, and the same leading ones.
    after, before = (
        [graph.emit("Gather", [x, np.array(order)], x.dtype, x.shape, axis=len(x.shape) - 1)
         for x in inputs] for order in ([1, 2, 0], [2, 0, 1]))
    dtype = eqn.outs[0].dtype
    return _by_entries(graph, "Sub", [
        _by_entries(graph, "Mul", [after[0], before[1]], dtype),
        _by_entries(graph, "Mul", [before[0], after[1]], dtype)], dtype)


@rule("jit:hard_silu", by_entries=True)
def _hard_swish(graph, inputs, eqn):
    gate = _by_entries(graph, "HardSigmoid", inputs, eqn.outs[0].dtype, alpha=1 / 6, beta=0.5)
    return _by_entries(graph, "Mul", [inputs[0], gate], eqn.outs[0].dtype)


@rule("while", by_entries=True)
def _while(graph, inputs, eqn):
    from deepmds_jax.exports.onnx_file import convert

    params = eqn.params
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond_consts, body_consts, start = (
        inputs[:split[0]], inputs[split[0]:split[1]], inputs[split[1]:])
    avals = eqn.outs

    def goes_on(state):
        return _thin(convert(graph, params["cond_jaxpr"], [*cond_consts, *state])[0])

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
        new = convert(graph, params["body_jaxpr"], [*body_consts, *state])
        new = [graph.full(x, aval.shape) for x, aval in zip(new, avals, strict=True)]
        if not batch:
            return [goes_on(new), *new]
        new = [_choose(graph, _with_rank(graph, old[0], len(after.shape)), after, before,
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
