"""The predictor that a merger is handed: a model's networks with weights of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from core.nn.optimizers import assign_strictly
from core.nn.precision import POLICIES

if TYPE_CHECKING:
    from models.network import NetworkModel


class SwapPredictor:
    """Maps (N, R, R, 3) faces to the swapped face and two masks; see `Model.predictor`."""

    def __init__(self, model: NetworkModel, compute: str, how: dict[str, Any]) -> None:
        """
        Args:
            model: Whose networks and weights to copy.
            compute: `float32`, `bfloat16` or `float16`.
            how: Passed on to the model's `swap_graph`.
        """
        parts = swap_parts(model, POLICIES[compute], **how)
        size = model.resolution
        self._run = tf.function(
            lambda faces: model.swap_graph(parts, faces, **how),
            input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)],
            autograph=False,
        )

    def __call__(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        face, src_mask, dst_mask = self._run(tf.constant(faces, tf.float32))
        return face.numpy(), src_mask.numpy(), dst_mask.numpy()


def swap_parts(model: NetworkModel, policy: str, **how: Any) -> dict[str, keras.Model]:
    """Copies of the networks that a swap needs, in the arithmetic of a Keras dtype policy."""
    parts = {name: model.build_part(name, policy) for name in model.swap_parts_for(**how)}
    for name, part in parts.items():
        copies = model.variables_of({name: part})
        assign_strictly(copies, {path: model.variables[path].numpy() for path in copies}, "weights")
    return parts
