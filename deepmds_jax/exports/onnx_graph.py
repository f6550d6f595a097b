"""An ONNX graph that grows node by node: small, without repetitions, and fast to run.

What is asked for twice is there once, and a node of a loop's body that depends on nothing of the
loop stands before the loop.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from deepmds_jax.extras import require

OPSET, IR_VERSION = 21, 10  # known to onnxruntime 1.20 and later, in browsers too

# Entries of an array that are worth a node which makes it from a smaller one when the file is
# loaded: runtimes compute then what depends on no input.
MANY = 1024


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value that is known only when the graph runs.

    Attributes:
      name: in the graph.
      dtype: NumPy's.
      shape: as it is stored. Where all entries along an axis of the value it stands for are equal,
        the axis has length 1 here, or is not there at all if it is a leading one: ONNX broadcasts.
        A length is a number, or a symbolic one of JAX.
      depth: how many loops and branches it is in.
    """

    name: str
    dtype: np.dtype
    shape: tuple[Any, ...]
    depth: int


# A tensor, or an array that is known now, stored in the same way.
Value = Tensor | np.ndarray


class Scope:
    """The nodes of the graph, or of the body of a loop or branch."""

    def __init__(self, is_branch: bool = False):
        self.is_branch = is_branch
        self.nodes: list[Any] = []
        self.known: dict[Any, list[Tensor]] = {}


class Graph:
    """The graph under construction.

    Args:
      lengths: how the graph finds the value of a symbolic length: by its text, an input and an axis
        of it.
      convert: adds a function of JAX to a graph, for the rules of loops.
    """

    def __init__(
        self, lengths: dict[str, tuple[Tensor, int]],
        convert: Callable[["Graph", ClosedJaxpr, Sequence[Value]], list[Value]],
    ):
        self._convert = convert
        self._onnx = require("onnx", "export")
        self._scopes = [Scope()]
        self._lengths = lengths
        self._constants: dict[Any, Tensor] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._makers: dict[str, tuple[str, list[Value], dict[str, Any]]] = {}
        self._count = 0

    def add(self, function: ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
        """The results of a function of JAX, which is added."""
        return self._convert(self, function, inputs)

    @property
    def depth(self) -> int:
        """How many loops and branches the node that comes next is in."""
        return len(self._scopes) - 1

    def new(self, dtype: Any, shape: Sequence[Any]) -> Tensor:
        """A name for a value of the innermost body."""
        self._count += 1
        # Short, for it stands in the file several times; inputs and outputs have small letters.
        return Tensor(np.base_repr(self._count, 36), np.dtype(dtype), tuple(shape), self.depth)

    def constant(self, array: np.ndarray) -> Tensor:
        """An array as a tensor."""
        array = np.asarray(array)
        key = array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            name = f"c{np.base_repr(len(self._constants), 36)}"
            tensor = Tensor(name, array.dtype, array.shape, 0)
            self._constants[key] = tensor
            self._arrays[tensor.name] = array
        return self._constants[key]

    def tensor(self, value: Value) -> Tensor:
        """The value as a tensor."""
        return value if isinstance(value, Tensor) else self.constant(value)

    def emit(
        self, op: str, inputs: Sequence[Value], dtype: Any, shape: Sequence[Any], **attributes: Any
    ) -> Tensor:
        """The output of a node, which is added unless it is there."""
        return self.emit_all(op, inputs, [(dtype, shape)], **attributes)[0]

    def emit_all(
        self, op: str, inputs: Sequence[Value], outputs: Sequence[tuple[Any, Sequence[Any]]],
        **attributes: Any,
    ) -> list[Tensor]:
        """The outputs, of these dtypes and shapes, of a node, which is added unless it is there."""
        tensors = [self.tensor(value) for value in inputs]
        names = tuple(tensor.name for tensor in tensors)
        key = op, names, len(outputs), repr(sorted(attributes.items()))
        # What a branch needs is computed where that branch is taken.
        branches = [depth for depth, scope in enumerate(self._scopes) if scope.is_branch]
        depth = max([*branches, *(tensor.depth for tensor in tensors)], default=0)
        for scope in self._scopes[:depth + 1]:
            if key in scope.known:
                return scope.known[key]
        found = [dataclasses.replace(self.new(*output), depth=depth) for output in outputs]
        self._scopes[depth].nodes.append(self._onnx.helper.make_node(
            op, names, [tensor.name for tensor in found], **attributes))
        self._scopes[depth].known[key] = found
        for tensor in found:
            self._makers[tensor.name] = op, list(inputs), attributes
        return found

    def maker(self, value: Value) -> tuple[str, list[Value], dict[str, Any]]:
        """The operation that makes a tensor, its inputs and attributes; "" if none is known."""
        nothing = "", [], {}
        return self._makers.get(value.name, nothing) if isinstance(value, Tensor) else nothing

    def body(
        self, inputs: Sequence[Tensor], build: Callable[[], Sequence[Value]], name: str
    ) -> Any:
        """The graph of a body whose outputs `build` gives; inputs come from `begin_body`."""
        outputs: list[Tensor] = []
        for value in build():
            tensor = self.tensor(value)
            # A body may not give what it did not make, nor one thing twice.
            own = tensor.depth == self.depth and tensor not in inputs and tensor not in outputs
            outputs.append(tensor if own else self._own(tensor))
        nodes = _needed(self._scopes.pop().nodes, {tensor.name for tensor in outputs})
        return self._onnx.helper.make_graph(
            nodes, name, [self.declare(tensor) for tensor in inputs],
            [self.declare(tensor) for tensor in outputs])

    def begin_body(self, is_branch: bool = False) -> None:
        """What is emitted from here on belongs to a body, until `body` ends it."""
        self._scopes.append(Scope(is_branch))

    def _own(self, tensor: Tensor) -> Tensor:
        """A copy that the innermost body makes."""
        own = self.new(tensor.dtype, tensor.shape)
        self._scopes[-1].nodes.append(
            self._onnx.helper.make_node("Identity", [tensor.name], [own.name]))
        return own

    def control(
        self, op: str, inputs: Sequence[Value], outputs: Sequence[tuple[Any, Sequence[Any]]],
        **attributes: Any,
    ) -> list[Tensor]:
        """The outputs of a node with bodies."""
        found = [self.new(*output) for output in outputs]
        names = [self.tensor(value).name if value is not None else "" for value in inputs]
        self._scopes[-1].nodes.append(self._onnx.helper.make_node(
            op, names, [tensor.name for tensor in found], **attributes))
        return found

    def declare(self, tensor: Tensor, name: str = "") -> Any:
        """The description of an input or output."""
        lengths = [n if isinstance(n, int) else str(n) for n in tensor.shape]
        element = self._onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype)
        return self._onnx.helper.make_tensor_value_info(name or tensor.name, element, lengths)

    def shape_tensor(self, shape: Sequence[Any]) -> Value:
        """A shape as an int64 array; symbolic lengths are looked up when the graph runs."""
        if all(isinstance(n, int) for n in shape):
            return np.array(shape, np.int64)
        parts = [np.array([n], np.int64) if isinstance(n, int) else self._length(n) for n in shape]
        return self.emit("Concat", parts, np.int64, (len(parts),), axis=0)

    def _length(self, length: Any) -> Tensor:
        if str(length) not in self._lengths:
            raise ValueError(f"onnx: no rule for a length of {length}")
        tensor, axis = self._lengths[str(length)]
        return self.emit("Shape", [tensor], np.int64, (1,), start=axis, end=axis + 1)

    def full(self, value: Value, shape: Sequence[Any]) -> Value:
        """The value with every axis stored in full."""
        if tuple(value.shape) == tuple(shape):
            return value
        if isinstance(value, np.ndarray) and all(isinstance(n, int) for n in shape) and (
                math.prod(shape) <= MANY):
            return np.broadcast_to(value, tuple(shape))
        value = self.unsqueeze(value, range(len(shape) - len(value.shape)))
        if tuple(value.shape) == tuple(shape):
            return value
        # 1 leaves an axis as it is
        target = [1 if a == b else b for a, b in zip(value.shape, shape, strict=True)]
        return self.emit("Expand", [value, self.shape_tensor(target)], value.dtype, shape)

    def unsqueeze(self, value: Value, axes: Iterable[int]) -> Value:
        """The value with new axes of length 1, which are at these places in the result."""
        axes = list(axes)
        if not axes:
            return value
        kept = iter(value.shape)
        shape = tuple(1 if axis in axes else next(kept)
                      for axis in range(len(value.shape) + len(axes)))
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
        op, inputs, attributes = self.maker(value)
        if op.startswith("Reduce") and list(np.asarray(inputs[1])) == axes:
            return self.emit(op, inputs, value.dtype, shape, keepdims=1)
        if op == "Gather" and axes == [attributes["axis"]] and isinstance(
                inputs[1], np.ndarray) and inputs[1].ndim == 0:
            return self.emit(op, [inputs[0], inputs[1][None]], value.dtype, shape,
                             axis=axes[0])
        return self.emit("Unsqueeze", [value, np.array(axes, np.int64)], value.dtype, shape)

    def squeeze(self, value: Value, axes: Iterable[int]) -> Value:
        """The value without these axes of length 1."""
        axes = [int(axis) for axis in axes]
        shape = tuple(n for axis, n in enumerate(value.shape) if axis not in axes)
        if not axes:
            return value
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
        op, inputs, _ = self.maker(value)
        if op == "Unsqueeze" and list(np.asarray(inputs[1])) == axes:
            return inputs[0]
        if op == "Slice" and list(np.asarray(inputs[3])) == axes and len(axes) == 1:
            return self.emit("Gather", [inputs[0], np.asarray(inputs[1])[0]], value.dtype, shape,
                             axis=axes[0])
        return self.emit("Squeeze", [value, np.array(axes, np.int64)], value.dtype, shape)

    def reshape(self, value: Value, shape: Sequence[Any]) -> Value:
        """The value, every axis of which is stored in full, in another shape."""
        shape = tuple(shape)
        if tuple(value.shape) == shape:
            return value
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
        op, inputs, _ = self.maker(value)
        if op == "Reshape":
            return self.reshape(inputs[0], shape)
        if 0 in shape:  # which else stands for a length that stays
            return self.emit("Reshape", [value, self.shape_tensor(shape)], value.dtype, shape,
                             allowzero=1)
        if sum(not isinstance(n, int) for n in shape) == 1:
            target = np.array([n if isinstance(n, int) else -1 for n in shape], np.int64)
        else:
            target = self.shape_tensor(shape)
        return self.emit("Reshape", [value, target], value.dtype, shape)

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """The value with its axes in another order."""
        order = [int(axis) for axis in order]
        if order == sorted(order):
            return value
        if isinstance(value, np.ndarray) and value.size <= MANY:
            return value.transpose(order)
        return self.emit("Transpose", [value], value.dtype,
                         [value.shape[axis] for axis in order], perm=order)

    def cast(self, value: Value, dtype: Any) -> Value:
        """The value in another dtype."""
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        if isinstance(value, np.ndarray):
            return value.astype(dtype)
        element = int(self._onnx.helper.np_dtype_to_tensor_dtype(dtype))
        return self.emit("Cast", [value], dtype, value.shape, to=element)

    def finish(self, names: Iterable[str], compact: bool) -> tuple[list[Any], list[Any]]:
        """The nodes that named results depend on, and the arrays that these need.

        Args:
          names: of the results.
          compact: whether arrays of float32 may be stored in 16 bits, as integers and a factor:
            for each row: that rounds to 1/65,534 of the row's largest entry.
        """
        nodes = _needed(self._scopes[0].nodes, set(names))
        used = _names_used(nodes)
        unpacking, stored = [], []
        for name, array in self._arrays.items():
            if name not in used:
                continue
            packed, factor = _packed(array, compact)
            if packed.dtype == array.dtype:
                stored.append((name, array))
                continue
            stored.append((f"{name}p", packed))
            element = int(self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
            whole = name if factor is None else f"{name}w"
            unpacking.append(self._onnx.helper.make_node("Cast", [f"{name}p"], [whole], to=element))
            if factor is not None:
                stored.append((f"{name}f", factor))
                unpacking.append(
                    self._onnx.helper.make_node("Mul", [whole, f"{name}f"], [name]))
        return unpacking + nodes, [
            self._onnx.numpy_helper.from_array(array, name) for name, array in stored]

    def name_output(self, value: Value, name: str) -> Any:
        """Makes a value an output of the graph; returns its description."""
        tensor = self.tensor(value)
        self._scopes[0].nodes.append(self._onnx.helper.make_node("Identity", [tensor.name], [name]))
        return self.declare(tensor, name)


# Of so few entries, unpacking takes as many bytes as it saves.
_FEW = 32
_PACKED = 256  # with a factor for each row
_SMALL_INTEGERS = np.uint8, np.int8, np.uint16, np.int16


def _packed(array: np.ndarray, compact: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The array in fewer bits if that can be, and factors if it has to be multiplied by some."""
    if array.size < _FEW or array.dtype == bool:
        return array, None
    for dtype in _SMALL_INTEGERS:
        limits = np.iinfo(dtype)
        if array.itemsize > limits.bits // 8 and np.all(
                (array >= limits.min) & (array <= limits.max)) and np.array_equal(
                    small := array.astype(dtype), array):
            return small, None
    if array.dtype != np.float32 or not compact or array.size < _PACKED or not np.all(
            np.isfinite(array)):
        return array, None
    factors = np.max(np.abs(array), axis=-1, keepdims=True) / np.iinfo(np.int16).max
    factors = np.maximum(factors, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(array / factors).astype(np.int16), factors


def _needed(nodes: Sequence[Any], wanted: set[str]) -> list[Any]:
    """The nodes that wanted results depend on."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= _names_used([node])
    return kept[::-1]


def _names_used(nodes: Sequence[Any]) -> set[str]:
    """What the nodes read, and the nodes in their bodies."""
    names = {name for node in nodes for name in node.input}
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= _names_used(attribute.g.node)
                names |= {output.name for output in attribute.g.output}
    return names
