"""An ONNX graph that grows node by node: small, without repetitions, and fast to run.

What is asked for twice is there once, and a node of a loop's body that depends on nothing of the
loop stands before the loop.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepmds_jax.extras import require

OPSET, IR_VERSION = 21, 10  # known to onnxruntime 1.20 and later, in browsers too


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value that is known only when the graph runs.

    Attributes:
      name: in the graph.
      dtype: NumPy's.
      shape: as it is stored. An axis of the value it stands for may be longer, where all entries
        along it are equal: then it is 1 here, and ONNX broadcasts. A length is a number, or a
        symbolic one of JAX.
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

    def __init__(self):
        self.nodes: list[Any] = []
        self.known: dict[Any, list[Tensor]] = {}


class Graph:
    """The graph under construction.

    Args:
      lengths: how the graph finds the value of a symbolic length: by its text, an input and an axis
        of it.
    """

    def __init__(self, lengths: dict[str, tuple[Tensor, int]]):
        self._onnx = require("onnx", "export")
        self._scopes = [Scope()]
        self._lengths = lengths
        self._constants: dict[Any, Tensor] = {}
        self.constants: dict[str, np.ndarray] = {}
        self._count = 0

    @property
    def depth(self) -> int:
        """How many loops and branches the node that comes next is in."""
        return len(self._scopes) - 1

    def new(self, dtype: Any, shape: Sequence[Any]) -> Tensor:
        """A name for a value of the innermost body."""
        self._count += 1
        return Tensor(f"t{self._count}", np.dtype(dtype), tuple(shape), self.depth)

    def constant(self, array: np.ndarray) -> Tensor:
        """An array as a tensor."""
        array = np.asarray(array)
        key = array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            tensor = Tensor(f"c{len(self._constants)}", array.dtype, array.shape, 0)
            self._constants[key] = tensor
            self.constants[tensor.name] = array
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
        depth = max([tensor.depth for tensor in tensors], default=0)
        for scope in self._scopes[:depth + 1]:
            if key in scope.known:
                return scope.known[key]
        found = [dataclasses.replace(self.new(*output), depth=depth) for output in outputs]
        self._scopes[depth].nodes.append(self._onnx.helper.make_node(
            op, names, [tensor.name for tensor in found], **attributes))
        self._scopes[depth].known[key] = found
        return found

    def body(
        self, inputs: Sequence[Tensor], build: Callable[[], Sequence[Value]], name: str
    ) -> Any:
        """The graph of a body whose outputs `build` gives; inputs come from `begin_body`."""
        outputs = [self._own(self.tensor(value)) for value in build()]
        scope = self._scopes.pop()
        return self._onnx.helper.make_graph(
            scope.nodes, name, [self.declare(tensor) for tensor in inputs],
            [self.declare(tensor) for tensor in outputs])

    def begin_body(self) -> None:
        """What is emitted from here on belongs to a body, until `body` ends it."""
        self._scopes.append(Scope())

    def _own(self, tensor: Tensor) -> Tensor:
        """A copy that the innermost body makes: a body may not give what it did not make."""
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
            raise NotImplementedError(f"a length of {length}")
        tensor, axis = self._lengths[str(length)]
        return self.emit("Shape", [tensor], np.int64, (1,), start=axis, end=axis + 1)

    def full(self, value: Value, shape: Sequence[Any]) -> Value:
        """The value with every axis stored in full."""
        if tuple(value.shape) == tuple(shape):
            return value
        if isinstance(value, np.ndarray) and all(isinstance(n, int) for n in shape):
            return np.broadcast_to(value, tuple(shape))
        # 1 leaves an axis as it is
        target = [1 if a == b else b for a, b in zip(value.shape, shape, strict=True)]
        return self.emit("Expand", [value, self.shape_tensor(target)], value.dtype, shape)

    def reshape(self, value: Value, shape: Sequence[Any]) -> Value:
        """The value, every axis of which is stored in full, in another shape."""
        shape = tuple(shape)
        if tuple(value.shape) == shape:
            return value
        if isinstance(value, np.ndarray):
            return value.reshape(shape)
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
        if isinstance(value, np.ndarray):
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

    def finish(self) -> list[Any]:
        """The nodes of the whole graph."""
        return self._scopes[0].nodes
