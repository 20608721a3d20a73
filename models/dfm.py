"""A model as a .dfm file: ONNX with DeepFaceLab's inputs and outputs (section 12 of the reference).

The networks are built anew for the file, in float32 whatever the model is trained in. "Quantized" ones
convolve in float16, as DeepFaceLab's do; their dense layers, inputs and outputs stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from core.errors import CheckpointError
from core.nn.layers import Dense
from models.predictor import swap_parts

if TYPE_CHECKING:
    from models.network import NetworkModel

OPSET, IR_VERSION = 12, 7
IN_FACE, MORPH_VALUE = "in_face", "morph_value"
OUTPUTS = ("out_face_mask", "out_celeb_face", "out_celeb_face_mask")  # mask of dst, swap, mask of the swap
MORPH = "morph_factor"  # what a swap graph that takes `MORPH_VALUE` calls it
LARGEST_FILE = 2**31 - 1  # bytes that protobuf, which ONNX is written in, can hold
PRODUCER = "Facelab"
NOTICE = "Faces made with this model are synthetic media; tell so wherever they are shown."


def dfm_bytes(model: NetworkModel, quantized: bool = False, **how: Any) -> bytes:
    """The file's content.

    Args:
        model: Its networks are copied; what it computes in has no influence.
        quantized: Convolve in float16: half of the size.
        how: What the model's `swap_graph` must be told, but for the morph factor, which is an input.

    Raises:
        ImportError: The package onnx is not installed.
        CheckpointError: The networks are larger than an ONNX file can be.
    """
    from models.onnx_graph import to_onnx  # needs a package that not everybody has

    parts = swap_parts(model, "mixed_float16" if quantized else "float32", **how)
    size = 4 * sum(int(np.prod(weight.shape)) for part in parts.values() for weight in part.weights)
    if size > LARGEST_FILE:
        raise CheckpointError(
            f"{model.name}: its networks take {size / 1e9:.1f} GB, an ONNX file holds 2.1 GB at most"
        )
    if quantized:
        _widen_dense_layers(parts)
    function = _swap_function(model, parts, how)
    inputs = [f"{spec.name}:0" for spec in function.input_signature]
    outputs = [f"{name}:0" for name in OUTPUTS]
    name = f"{model.name}_{model.kind}"
    onnx_model = to_onnx(function.get_concrete_function(), inputs, outputs, name, OPSET, IR_VERSION)
    _describe(onnx_model, model, quantized, how)
    return onnx_model.SerializeToString()


def _swap_function(
    model: NetworkModel, parts: Mapping[str, keras.Model], how: Mapping[str, Any]
) -> tf.types.experimental.PolymorphicFunction:
    """The swap as a graph whose inputs and outputs bear DeepFaceLab's names."""
    signature = [tf.TensorSpec((None, model.resolution, model.resolution, 3), tf.float32, name=IN_FACE)]
    morphs = MORPH in model.HOW
    if morphs:
        signature.append(tf.TensorSpec((1,), tf.float32, name=MORPH_VALUE))

    @tf.function(input_signature=signature, autograph=False)
    def swap(in_face: tf.Tensor, *morph_value: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = {**how, MORPH: morph_value[0]} if morphs else how
        face, src_mask, dst_mask = model.swap_graph(parts, in_face, **values)
        return dst_mask, face, src_mask  # in the order of OUTPUTS

    return swap


def _widen_dense_layers(parts: Mapping[str, keras.Model]) -> None:
    """Let dense layers compute in float32: they sum thousands of products."""
    for part in parts.values():
        for layer in part.layers:
            if isinstance(layer, Dense):
                layer.dtype_policy = "float32"


def _describe(onnx_model: Any, model: NetworkModel, quantized: bool, how: Mapping[str, Any]) -> None:
    """Say what the file is and where it comes from."""
    onnx_model.producer_name = PRODUCER
    facts = {
        "synthetic_media": NOTICE,
        "model": model.name,
        "class": model.kind,
        "iteration": model.iteration,
        "resolution": model.resolution,
        "face_type": model.face_type,
        "quantized": "yes" if quantized else "no",
        **how,
    }
    for key, value in facts.items():
        entry = onnx_model.metadata_props.add()
        entry.key, entry.value = key, str(value)
