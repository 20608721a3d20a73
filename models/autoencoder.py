"""The df autoencoder, to train and to predict with: one encoder and inter, a decoder for each person."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from core.nn import archi as nets
from core.nn.layers import part_weights
from core.nn.losses import dssim, gaussian_blur, squared_error
from core.nn.optimizers import assign_strictly


class FaceAutoencoder:
    """The four networks of a df model, weights in float32."""

    PARTS = ("encoder", "inter", "decoder_src", "decoder_dst")

    def __init__(self, archi: nets.Archi, policy: str, seed: int) -> None:
        self.archi = archi
        self.encoder = nets.build_encoder(archi, policy, seed)
        self.inter = nets.build_inter(archi, policy, seed)
        self.decoder_src = nets.build_decoder(archi, policy, seed, "decoder_src")
        self.decoder_dst = nets.build_decoder(archi, policy, seed, "decoder_dst")

    @property
    def parts(self) -> list[keras.Model]:
        return [getattr(self, name) for name in self.PARTS]

    def variables(self) -> dict[str, tf.Variable]:
        """All weights by path."""
        return {path: weight.value for part in self.parts for path, weight in part_weights(part).items()}

    def code(self, images: tf.Tensor) -> tf.Tensor:
        return self.inter(self.encoder(images))

    def reconstruct(self, src: tf.Tensor, dst: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both persons by their own decoders, src before dst: faces (2N, R, R, 3) and masks (2N, R, R, 1)."""
        code_src, code_dst = tf.split(self.code(tf.concat([src, dst], axis=0)), 2)
        src_out, dst_out = self.decoder_src(code_src), self.decoder_dst(code_dst)
        return (
            tf.concat([src_out["face"], dst_out["face"]], axis=0),
            tf.concat([src_out["mask"], dst_out["mask"]], axis=0),
        )

    def show(self, src: tf.Tensor, dst: tf.Tensor) -> dict[str, tf.Tensor]:
        """Everything a preview needs: both reconstructions and the swap, with masks."""
        src_out = self.decoder_src(self.code(src))
        code_dst = self.code(dst)
        dst_out, swap = self.decoder_dst(code_dst), self.decoder_src(code_dst)
        outputs = {"src": src_out, "dst": dst_out, "swap": swap}
        return {f"{name}_{key}": out[key] for name, out in outputs.items() for key in ("face", "mask")}


def masked_losses(
    target: tf.Tensor, mask: tf.Tensor, face: tf.Tensor, face_mask: tf.Tensor
) -> dict[str, tf.Tensor]:
    """DFL's three terms per sample, (N,) each, for faces compared inside of the blurred mask (sigma 3)."""
    soft = tf.stop_gradient(gaussian_blur(mask, 3.0))
    wanted, found = target * soft, face * soft
    size = int(target.shape[1] / 11.6)
    return {
        "dssim": 10.0 * tf.reduce_mean(dssim(wanted, found, size), axis=-1),
        "pixels": 10.0 * squared_error(wanted, found),
        "mask": 10.0 * squared_error(mask, face_mask),
    }


class Swapper:
    """Predictor of a df model: a copy of the weights in the type that it computes in."""

    def __init__(self, archi: nets.Archi, compute: str, weights: Mapping[str, np.ndarray]) -> None:
        """
        Args:
            archi: The networks' sizes.
            compute: `float32`, `bfloat16` or `float16`.
            weights: Float32 by path.
        """
        self._nets = FaceAutoencoder(archi, compute, seed=0)
        variables = self._nets.variables()
        assign_strictly(variables, {path: weights[path] for path in variables}, "weights")
        self._dst_mask = nets.mask_only(self._nets.decoder_dst)
        size = archi.resolution
        self._run = tf.function(
            self._graph, input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)]
        )

    def _graph(self, faces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        code = self._nets.code(faces)
        swap = self._nets.decoder_src(code)
        return swap["face"], swap["mask"], self._dst_mask(code)

    def __call__(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        face, src_mask, dst_mask = self._run(tf.constant(faces, tf.float32))
        return face.numpy(), src_mask.numpy(), dst_mask.numpy()
