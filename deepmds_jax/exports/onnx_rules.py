"""What the primitives of JAX are in ONNX, one rule each: those that work entry by entry."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepmds_jax.exports.onnx_graph import Graph, Value

# Of a primitive: the graph, its inputs, the avals of inputs and outputs, its parameters -> outputs.
Rule = Callable[..., Value | Sequence[Value]]
RULES: dict[str, Rule] = {}
# Of those that work entry by entry, or do not care: their inputs may lack leading axes.
WITHOUT_LEADING: set[str] = set()


def rule(*primitives: str, by_entry: bool = False) -> Callable[[Rule], Rule]:
    """Registers the rule of some primitives, and whether they work entry by entry."""

    def register(function: Rule) -> Rule:
        for primitive in primitives:
            RULES[primitive] = function
            if by_entry:
                WITHOUT_LEADING.add(primitive)
        return function

    return register


def together(inputs: Sequence[Value]) -> tuple[Any, ...]:
    """The stored shape of a function of entries."""
    rank = max(len(x.shape) for x in inputs)
    shapes = [(1,) * (rank - len(x.shape)) + tuple(x.shape) for x in inputs]
    return tuple(next((n for n in lengths if not (isinstance(n, int) and n == 1)), 1)
                 for lengths in zip(*shapes, strict=True))


def thin(value: Value) -> Value:
    """An array without the axes along which all entries are equal."""
    if not isinstance(value, np.ndarray) or value.size < 2:
        return value
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if value.shape[axis] > 1 and _are_same(np.broadcast_to(first, value.shape), value):
            value = first
    return value


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether arrays are equal, NaN to NaN and -0 not to 0."""
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.array_equal(one, other, equal_nan=True) and np.array_equal(
        np.signbit(one), np.signbit(other))


# What leaves the other one of two inputs as it is. (x + 0 is 0 where x is -0, which is equal to 0.)
_NEUTRAL = {"Add": 0, "Mul": 1, "Min": np.inf, "Max": -np.inf, "And": True, "Or": False}


def by_entries(graph: Graph, op: str, inputs: Sequence[Value], dtype: Any, **attributes) -> Value:
    inputs = [thin(x) for x in inputs]
    shape = together(inputs)
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
        if made == "Max" and low is not None and dtype == np.float32 and not (
                np.isnan([low.item(), inputs[0].item()]).any()):  # which to Clip is no bound
            x = bounded[0] if bounded[1] is low else bounded[1]
            return graph.emit("Clip", [x, low.reshape(()), inputs[0].reshape(())], dtype, shape)
    return graph.emit(op, inputs, dtype, shape, **attributes)


def _gelu_of(graph: Graph, x: Value, share: Value) -> Value | None:
    """x, where the share of it that remains is (1 + tanh(a (x + b x^3))) / 2, as `jax.nn.gelu`."""
    for op, constant in ("Mul", 0.5), ("Add", 1), ("Tanh", None), ("Mul", math.sqrt(2 / math.pi)):
        made, inputs, _ = graph.maker(share)
        if made != op or (constant is not None and not (
                isinstance(inputs[0], np.ndarray) and np.allclose(inputs[0], constant))):
            return None
        share = inputs[-1]
    made, inputs, _ = graph.maker(share)
    if made != "Add" or inputs[0] is not x:
        return None
    made, inputs, _ = graph.maker(inputs[1])
    if made != "Mul" or not (
            isinstance(inputs[0], np.ndarray) and np.allclose(inputs[0], 0.044715)):
        return None
    factors = [inputs[1]]
    for _ in range(2):  # x x x, from the last to the first
        made, inputs, _ = graph.maker(factors[0])
        if made != "Mul":
            return None
        factors[:1] = inputs
    return x if all(factor is x for factor in factors) else None


def _count(summed: Sequence[Value]) -> int | None:
    """How many entries a sum is of; None if that is not known."""
    lengths = [summed[0].shape[axis] for axis in np.asarray(summed[1])]
    return math.prod(lengths) if all(isinstance(n, int) for n in lengths) else None


def _add_by_entries(primitive: str, op: str, **attributes: Any) -> None:
    @rule(primitive, by_entry=True)
    def convert(graph, inputs, eqn):
        return by_entries(graph, op, inputs, eqn.outs[0].dtype, **attributes)


for _primitive, _op in {
    "abs": "Abs", "add": "Add", "add_any": "Add", "ceil": "Ceil", "cos": "Cos", "div": "Div",
    "eq": "Equal", "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater",
    "le": "LessOrEqual", "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max",
    "min": "Min", "mul": "Mul", "neg": "Neg", "pow": "Pow", "sign": "Sign", "sin": "Sin",
    "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh",
}.items():
    _add_by_entries(_primitive, _op)
_add_by_entries("rem", "Mod", fmod=1)


@rule("shift_left", "shift_right_logical", by_entry=True)
def _shift(graph, inputs, eqn):
    unsigned = np.dtype(f"u{eqn.outs[0].dtype.name.removeprefix('u')}")  # ONNX shifts no others
    direction = "LEFT" if eqn.primitive == "shift_left" else "RIGHT"
    shifted = by_entries(graph, "BitShift", [graph.cast(x, unsigned) for x in inputs], unsigned,
                         direction=direction)
    return graph.cast(shifted, eqn.outs[0].dtype)


@rule("and", "or", "not", "xor", by_entry=True)
def _logic(graph, inputs, eqn):
    name = eqn.primitive.capitalize()
    op = name if eqn.outs[0].dtype == bool else f"Bitwise{name}"
    return by_entries(graph, op, inputs, eqn.outs[0].dtype)


@rule("ne", by_entry=True)
def _ne(graph, inputs, eqn):
    if inputs[0] is inputs[1] and inputs[0].dtype.kind == "f":
        return by_entries(graph, "IsNaN", inputs[:1], bool)
    return by_entries(graph, "Not", [by_entries(graph, "Equal", inputs, bool)], bool)


@rule("square", by_entry=True)
def _square(graph, inputs, eqn):
    return by_entries(graph, "Mul", [inputs[0], inputs[0]], eqn.outs[0].dtype)


@rule("rsqrt", by_entry=True)
def _rsqrt(graph, inputs, eqn):
    root = by_entries(graph, "Sqrt", inputs, inputs[0].dtype)
    return graph.emit("Reciprocal", [root], root.dtype, root.shape)


@rule("integer_pow", by_entry=True)
def _integer_pow(graph, inputs, eqn):
    x, power = inputs[0], eqn.params["y"]
    if power == 0:
        return np.ones((1,) * len(x.shape), x.dtype)
    result = x
    for _ in range(abs(power) - 1):
        result = by_entries(graph, "Mul", [result, x], x.dtype)
    return by_entries(graph, "Reciprocal", [result], x.dtype) if power < 0 else result


@rule("is_finite", by_entry=True)
def _is_finite(graph, inputs, eqn):
    size = by_entries(graph, "Abs", inputs, inputs[0].dtype)
    return by_entries(graph, "Less", [size, np.array(np.inf, size.dtype)], bool)


@rule("clamp", by_entry=True)
def _clamp(graph, inputs, eqn):
    low, x, high = inputs
    return by_entries(graph, "Min", [by_entries(graph, "Max", [x, low], x.dtype), high], x.dtype)


@rule("select_n", by_entry=True)
def _select(graph, inputs, eqn):
    which, *cases = inputs
    dtype = eqn.outs[0].dtype
    if which.dtype != bool:
        result = cases[0]
        for i, case in enumerate(cases[1:], 1):
            is_case = by_entries(graph, "Equal", [which, np.array(i, which.dtype)], bool)
            result = choose(graph, is_case, case, result, dtype)
        return result
    return choose(graph, which, cases[1], cases[0], dtype)


def widened(graph: Graph, x: Value) -> Value:
    """Truth values and integers as int32, or int64 where they need it; floats as they are.

    onnxruntime has many operations for no other integers, and takes none else as places.
    """
    if x.dtype.kind not in "biu" or x.dtype == np.uint64:
        return x
    return graph.cast(x, np.promote_types(x.dtype, np.int32))


def as_known(graph: Graph, function: Callable[..., Value], *inputs: Value) -> Value:
    """A function of inputs that onnxruntime may not have for their dtype."""
    return graph.cast(function(*(widened(graph, x) for x in inputs)), inputs[0].dtype)


def choose(graph, condition, if_true, if_false, dtype):
    if np.dtype(dtype) == np.dtype(bool):  # onnxruntime has no `Where` for it
        wrong = by_entries(graph, "Not", [condition], bool)
        return by_entries(graph, "Or", [
            by_entries(graph, "And", [condition, if_true], bool),
            by_entries(graph, "And", [wrong, if_false], bool)], bool)
    return as_known(graph, lambda a, b: by_entries(
        graph, "Where", [condition, a, b], a.dtype), if_true, if_false)


@rule("convert_element_type", by_entry=True)
def _convert(graph, inputs, eqn):
    x, dtype = thin(inputs[0]), np.dtype(eqn.params["new_dtype"])
    if x.dtype.kind != "f" or dtype.kind not in "iu" or dtype.itemsize > 4:
        return graph.cast(x, dtype)
    # NaN becomes 0, and what is out of range the nearest number: ONNX leaves both open.
    limits = np.iinfo(dtype)
    x = graph.cast(x, np.float32)
    is_number = by_entries(graph, "Equal", [x, x], bool)
    x = by_entries(graph, "Where", [is_number, x, np.array(0, np.float32)], np.float32)
    x = by_entries(graph, "Max", [x, np.array(limits.min, np.float32)], np.float32)
    x = by_entries(graph, "Min", [np.array(limits.max, np.float32), x], np.float32)
    if dtype.itemsize == 4:  # whose largest number float32 rounds up
        x = graph.cast(x, np.int64)
        x = by_entries(graph, "Min", [x, np.array(limits.max, np.int64)], np.int64)
    return graph.cast(x, dtype)


@rule("stop_gradient", "copy", "copy_p", "optimization_barrier", by_entry=True)
def _same(graph, inputs, eqn):
    return inputs


@rule("jit:cross")
def _cross(graph, inputs, eqn):
    # Both have the vectors on their last axis, and the same leading ones.
    after, before = (
        [graph.emit("Gather", [x, np.array(order)], x.dtype, x.shape, axis=len(x.shape) - 1)
         for x in inputs] for order in ([1, 2, 0], [2, 0, 1]))
    dtype = eqn.outs[0].dtype
    return by_entries(graph, "Sub", [
        by_entries(graph, "Mul", [after[0], before[1]], dtype),
        by_entries(graph, "Mul", [before[0], after[1]], dtype)], dtype)


@rule("jit:hard_silu", by_entry=True)
def _hard_swish(graph, inputs, eqn):
    gate = by_entries(graph, "HardSigmoid", inputs, eqn.outs[0].dtype, alpha=1 / 6, beta=0.5)
    return by_entries(graph, "Mul", [inputs[0], gate], eqn.outs[0].dtype)
