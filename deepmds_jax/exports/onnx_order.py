"""Rules of primitives that sort, and that accumulate along an axis."""

import numpy as np

from deepmds_jax.exports.onnx_layout import sliced
from deepmds_jax.exports.onnx_rules import by_entries, rule, widened


@rule("sort")
def _sort(graph, inputs, eqn):
    axis, num_keys = int(eqn.params["dimension"]), eqn.params["num_keys"]
    shape = eqn.ins[0].shape
    arrays = [graph.full(x, shape) for x in inputs]
    size = graph.shape_tensor([shape[axis]])
    for key in reversed(range(num_keys)):  # equal keys keep their places
        places = _as_places(graph, arrays[key], size, axis)
        arrays = [graph.emit("GatherElements", [x, places], x.dtype, shape, axis=axis)
                  for x in arrays]
    return arrays


def _as_places(graph, key, size, axis):
    key = widened(graph, key)
    return graph.emit_all("TopK", [key, size], [
        (key.dtype, key.shape), (np.int64, key.shape)], axis=axis, largest=0, sorted=1)[1]


@rule("cumsum")
def _cumsum(graph, inputs, eqn):
    x, axis = graph.full(inputs[0], eqn.ins[0].shape), np.array(int(eqn.params["axis"]))
    return graph.emit("CumSum", [x, axis], x.dtype, x.shape, reverse=int(eqn.params["reverse"]))


@rule("cummin", "cummax")
def _cumulative(graph, inputs, eqn):
    """By doubling: each entry with the one 1, 2, 4... places before it."""
    x, axis = graph.full(inputs[0], eqn.ins[0].shape), int(eqn.params["axis"])
    op = "Min" if eqn.primitive == "cummin" else "Max"
    backwards, length = eqn.params["reverse"], x.shape[axis]

    def part(start, limit):
        def of_axis(value, others):
            return [value if i == axis else other for i, other in enumerate(others)]

        return sliced(graph, x, [axis], of_axis(start, x.shape), of_axis(limit, x.shape),
                      of_axis(1, x.shape), of_axis(limit - start, x.shape))

    step = 1
    while step < length:
        both = by_entries(graph, op, [part(0, length - step), part(step, length)], x.dtype)
        alone = part(length - step, length) if backwards else part(0, step)
        x = graph.emit("Concat", [both, alone] if backwards else [alone, both], x.dtype, x.shape,
                       axis=axis)
        step *= 2
    return x


def _float(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@rule("bitcast_convert_type")
def _bits(graph, inputs, eqn):
    """The bits of floats that are not negative, by exact arithmetic: ONNX has no such cast."""
    x = inputs[0]
    if x.dtype != np.float32 or eqn.outs[0].dtype != np.uint32:
        raise ValueError(f"onnx: no rule for the bits of {x.dtype}")
    is_infinite = by_entries(graph, "Greater", [x, _float(3.4028235e38)], bool)
    x = by_entries(graph, "Where", [is_infinite, _float(1), x], np.float32)
    exponent = np.array(127, np.int64)
    for power in (64, 32, 16, 8, 4, 2, 1):  # until it lies between 1 and 2, or no further
        for factor, is_far in (
                (2.0**-power, by_entries(graph, "GreaterOrEqual", [
                    x, _float(2.0**power)], bool)),
                (2.0**power, by_entries(graph, "Less", [x, _float(2.0 ** (1 - power))],
                                         bool))):
            moved = by_entries(graph, "Mul", [x, _float(factor)], np.float32)
            x = by_entries(graph, "Where", [is_far, moved, x], np.float32)
            more = np.array(power if factor < 1 else -power, np.int64)
            step = by_entries(graph, "Where", [is_far, more, np.array(0)], np.int64)
            exponent = by_entries(graph, "Add", [exponent, step], np.int64)
    # The leading bit of the mantissa counts as one of the exponent. Below the normal floats there
    # is none, and a bit less of the mantissa.
    mantissa = graph.cast(by_entries(graph, "Mul", [x, _float(2.0**23)], np.float32), np.int64)
    least = by_entries(graph, "Div", [mantissa, np.array(2)], np.int64)
    is_least = by_entries(graph, "Equal", [exponent, np.array(0)], bool)
    exponent = by_entries(graph, "Sub", [exponent, np.array(1)], np.int64)
    exponent = by_entries(graph, "Mul", [exponent, np.array(2**23)], np.int64)
    bits = by_entries(graph, "Add", [exponent, mantissa], np.int64)
    bits = by_entries(graph, "Where", [is_least, least, bits], np.int64)
    bits = by_entries(graph, "Where", [is_infinite, np.array(0x7F800000), bits], np.int64)
    return graph.cast(bits, np.uint32)
