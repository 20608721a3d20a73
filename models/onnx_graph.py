"""A traced TensorFlow function of convolutional networks as an ONNX graph.

It knows the operations of this program's networks and no others. Pictures are (N, H, W, C) in TensorFlow and
(N, C, H, W) in ONNX: between its inputs and outputs the file's graph is in the latter order throughout, as
DeepFaceLab's is. Of each weight one copy is made; general converters need forty times the networks' size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

from core.errors import SwapError

TO_PLANES, TO_PIXELS = (0, 3, 1, 2), (0, 2, 3, 1)
UNARY = {"LeakyRelu": "LeakyRelu", "Sigmoid": "Sigmoid", "Cos": "Cos", "Relu": "Relu", "Tanh": "Tanh"}
BINARY = {"AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "Less": "Less", "SelectV2": "Where"}


@dataclass(frozen=True)
class _Value:
    """What a tensor of TensorFlow's has become: a name in the file, or a constant not written yet."""

    name: str = ""
    const: np.ndarray | None = None
    planes: bool = False  # stored as (N, C, H, W), while TensorFlow has (N, H, W, C)
    pads: tuple[int, ...] = ()  # top, left, bottom, right: zeros that the next convolution adds


def to_onnx(
    function: Any, inputs: list[str], outputs: list[str], name: str, opset: int, ir_version: int
) -> onnx.ModelProto:
    """The file of a concrete function.

    Args:
        function: Takes float32 tensors of known shapes, but for the first side, and returns a tuple of them.
        inputs: Names for its arguments in the file.
        outputs: Names for what it returns.
        name: Of the graph.
        opset: Version of ONNX's operations, 11 or 12.
        ir_version: Version of the file format.

    Raises:
        SwapError: It has an operation that has no counterpart here.
    """
    return _Converter(function).convert(inputs, outputs, name, opset, ir_version)


class _Converter:
    """One conversion."""

    def __init__(self, function: Any) -> None:
        self.function, self.graph = function, function.graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[str, _Value] = {}
        self.biased: dict[str, onnx.NodeProto] = {}  # convolutions that can take a bias, by output
        self.turned: dict[tuple[str, bool], str] = {}  # names of pictures in the other order
        self.written: dict[tuple, tuple[Any, Any]] = {}  # what was made of a constant, and that constant

    def convert(
        self, inputs: list[str], outputs: list[str], name: str, opset: int, ir: int
    ) -> onnx.ModelProto:
        variables = {id(variable.handle): variable for variable in self.graph.variables}
        for outer, inner in self.graph.captures:
            found = variables.get(id(outer), outer)
            self.values[inner.name] = _Value(const=found.numpy())
        arguments = self.graph.inputs[: len(inputs)]
        self.values |= {tensor.name: _Value(label) for tensor, label in zip(arguments, inputs)}
        results = list(self.function.structured_outputs)
        for op in _needed(self.graph, results):
            self._convert_op(op)
        for tensor, label in zip(results, outputs):
            value = self.values[tensor.name]
            order = {"perm": TO_PIXELS} if value.planes else {}
            name_now = self._use(value, value.planes)
            self._emit("Transpose" if value.planes else "Identity", [name_now], output=label, **order)
        graph = helper.make_graph(
            self.nodes,
            name,
            [_info(label, tensor) for tensor, label in zip(arguments, inputs)],
            [_info(label, tensor) for tensor, label in zip(results, outputs)],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)

    def _convert_op(self, op: tf.Operation) -> None:
        if op.outputs[0].name in self.values:  # an input
            return
        given = [self.values[tensor.name] for tensor in op.inputs]
        if op.type in ("Identity", "IdentityN", "ReadVariableOp", "StopGradient"):
            made = given
        elif op.type == "Const":
            made = [_Value(const=tf.make_ndarray(op.get_attr("value")))]
        elif op.type in UNARY:
            made = [replace(given[0], name=self._unary(op, given[0]))]
        elif op.type in BINARY:
            made = [self._broadcast(op, given)]
        else:
            handler: Callable | None = getattr(self, f"_{op.type.lower()}", None)
            if handler is None:
                raise SwapError(f"{op.name}: the operation {op.type} has no counterpart in an ONNX file")
            made = [handler(op, *given)]
        self.values |= {tensor.name: value for tensor, value in zip(op.outputs, made)}

    # Writing

    def _emit(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Write a node; returns its output's name."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _once(self, array: np.ndarray, what: Any, make: Callable[[], Any]) -> Any:
        """`make()`, but only the first time for this constant: what networks share is written once."""
        key = (id(array), what)
        if key not in self.written:
            self.written[key] = (make(), array)
        return self.written[key][0]

    def _write(self, array: np.ndarray, shape: tuple[int, ...] | None = None, order: Any = None) -> str:
        """Put a constant into the file, reshaped or in another order of its axes; returns its name."""

        def write() -> str:
            label = f"weight_{len(self.initializers)}"
            moved = array if order is None else np.transpose(array, order)
            moved = moved if shape is None else moved.reshape(shape)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(moved), label))
            return label

        return self._once(array, ("write", shape, order), write)

    def _use(self, value: _Value, planes: bool = False) -> str:
        """The name of a value, in either order of a picture's axes."""
        if value.const is not None:
            array = value.const
            if not planes or array.ndim == 0:
                return self._write(array)
            if array.ndim == 4:
                return self._write(array, order=TO_PLANES)
            return self._write(array, shape=(-1, 1, 1))  # of every channel
        if value.pads:
            top, left, bottom, right = value.pads
            sides = self._write(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
            value = _Value(self._emit("Pad", [self._use(replace(value, pads=()), True), sides]), planes=True)
        if value.planes == planes:
            return value.name
        perm = TO_PLANES if planes else TO_PIXELS
        key = (value.name, planes)
        if key not in self.turned:
            self.turned[key] = self._emit("Transpose", [value.name], perm=perm)
        return self.turned[key]

    # Operations

    def _unary(self, op: tf.Operation, x: _Value) -> str:
        attributes = {"alpha": op.get_attr("alpha")} if op.type == "LeakyRelu" else {}
        return self._emit(UNARY[op.type], [self._use(x, x.planes)], **attributes)

    def _broadcast(self, op: tf.Operation, given: list[_Value]) -> _Value:
        """Operations between elements; pictures, and conditions of a picture's rank, in one order."""
        planes = any(value.planes for value in given)
        names = [self._use(value, planes) for value in given]
        return _Value(self._emit(BINARY[op.type], names), planes=planes)

    def _conv2d(self, op: tf.Operation, x: _Value, kernel: _Value) -> _Value:
        stride, pads = op.get_attr("strides")[1], x.pads or (0, 0, 0, 0)
        size = kernel.const.shape[:2]
        if op.get_attr("padding") == b"SAME":
            sides = [_same_padding(op.inputs[0].shape[1 + axis], size[axis], stride) for axis in (0, 1)]
            pads = [p + q for p, q in zip(pads, (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))]
        weight = self._write(kernel.const, order=(3, 2, 0, 1))
        inputs = [self._use(replace(x, pads=()), True), weight]
        name = self._emit("Conv", inputs, kernel_shape=size, strides=[stride, stride], pads=list(pads))
        self.biased[name] = self.nodes[-1]
        return _Value(name, planes=True)

    def _biasadd(self, op: tf.Operation, x: _Value, bias: _Value) -> _Value:
        if x.name in self.biased:
            self.biased.pop(x.name).input.append(self._write(bias.const))
            return x
        names = [self._use(x, x.planes), self._use(bias, x.planes)]
        return _Value(self._emit("Add", names), planes=x.planes)

    def _matmul(self, op: tf.Operation, x: _Value, weight: _Value) -> _Value:
        if op.get_attr("transpose_a") or op.get_attr("transpose_b"):
            raise SwapError(f"{op.name}: a product of transposed matrices has no counterpart in an ONNX file")
        return _Value(self._emit("MatMul", [self._use(x), self._use(weight)]))

    def _cast(self, op: tf.Operation, x: _Value) -> _Value:
        kind = np.dtype(op.get_attr("DstT").as_numpy_dtype)
        if x.const is not None:
            return _Value(const=self._once(x.const, kind, lambda: x.const.astype(kind)))
        to = helper.np_dtype_to_tensor_dtype(kind)
        return _Value(self._emit("Cast", [self._use(x, x.planes)], to=to), planes=x.planes)

    def _pad(self, op: tf.Operation, x: _Value, sides: _Value) -> _Value:
        if x.const is not None:
            wide = self._once(x.const, sides.const.tobytes(), lambda: np.pad(x.const, sides.const))
            return _Value(const=wide)
        (top, bottom), (left, right) = sides.const[1:3].tolist()
        return replace(x, pads=(top, left, bottom, right))

    def _depthtospace(self, op: tf.Operation, x: _Value) -> _Value:
        inputs = [self._use(x, True)]
        size = op.get_attr("block_size")
        return _Value(self._emit("DepthToSpace", inputs, blocksize=size, mode="DCR"), planes=True)

    def _transpose(self, op: tf.Operation, x: _Value, order: _Value) -> _Value:
        perm = tuple(order.const.tolist())
        if x.planes and perm == TO_PLANES:
            return replace(x, planes=False)
        if not x.planes and perm == TO_PIXELS:
            return replace(x, planes=True)
        return _Value(self._emit("Transpose", [self._use(x)], perm=perm))

    def _reshape(self, op: tf.Operation, x: _Value, shape: _Value) -> _Value:
        sides = self._write(shape.const.astype(np.int64))
        return _Value(self._emit("Reshape", [self._use(x), sides]))

    def _concatv2(self, op: tf.Operation, *given: _Value) -> _Value:
        *given, axis = given
        axis = int(axis.const) % op.outputs[0].shape.rank
        if all(value.const is not None for value in given):
            arrays = [value.const for value in given]
            key = ("concat", axis, *map(id, arrays))
            return _Value(const=self._once(arrays[0], key, lambda: np.concatenate(arrays, axis)))
        planes = any(value.planes for value in given)
        axis = (0, 2, 3, 1)[axis] if planes else axis
        return _Value(self._emit("Concat", [self._use(v, planes) for v in given], axis=axis), planes=planes)

    def _square(self, op: tf.Operation, x: _Value) -> _Value:
        name = self._use(x, x.planes)
        return _Value(self._emit("Mul", [name, name]), planes=x.planes)

    def _mean(self, op: tf.Operation, x: _Value, axes: _Value) -> _Value:
        keep = int(op.get_attr("keep_dims"))
        axes = np.atleast_1d(axes.const).tolist()
        return _Value(self._emit("ReduceMean", [self._use(x)], axes=axes, keepdims=keep))

    def _rsqrt(self, op: tf.Operation, x: _Value) -> _Value:
        root = self._emit("Sqrt", [self._use(x, x.planes)])
        return _Value(self._emit("Reciprocal", [root]), planes=x.planes)

    def _range(self, op: tf.Operation, *bounds: _Value) -> _Value:
        return _Value(const=np.arange(*(int(bound.const) for bound in bounds), dtype=bounds[0].const.dtype))


def _needed(graph: Any, results: list[tf.Tensor]) -> list[tf.Operation]:
    """The operations that the results depend on, in an order in which they can be computed."""
    wanted, open_ops = set(), [tensor.op for tensor in results]
    while open_ops:
        op = open_ops.pop()
        if op.name not in wanted:
            wanted.add(op.name)
            open_ops += [tensor.op for tensor in op.inputs]
    return [op for op in graph.get_operations() if op.name in wanted]


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: zeros before and after."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _info(label: str, tensor: tf.Tensor) -> onnx.ValueInfoProto:
    shape = ["batch" if side is None else side for side in tensor.shape]
    return helper.make_tensor_value_info(label, onnx.TensorProto.FLOAT, shape)
