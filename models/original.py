"""Original: the first deepfakes autoencoder (2017), and the smallest example of a model; see docs/models.md.

An encoder learns what all faces have in common, a decoder for each person what is their own. Each decoder
learns to restore its person's distorted faces. Given the code of another person's face, it paints its own
person with the other's pose and expression: the swap.

The first program painted faces and cut a square out of the frame. Our mergers blend along a mask, so a
decoder here has a small second branch, which learns the mask of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from core.nn.layers import LEAKY, Conv, Dense, DepthToSpace, FlattenPlanes, ReshapePlanes, Sigmoid
from models.autoencoder import PREVIEW_ROWS, grid
from models.base import Batch
from models.network import MAIN, NetworkModel, StepLosses
from models.original_options import OriginalOptions
from models.recipes import Plan, Recipe

RESOLUTION, CODE = 64, (8, 8, 512)
RATE = 5e-5
RECIPE = Recipe(
    "adam",
    beta1=0.5,
    beta2=0.999,
    eps=1e-7,
    bias_correction=True,
    unwarped_every=0,
    dfl_warp=False,
    primes=False,
    plan=lambda iteration: Plan(rate=RATE),
)


def build_encoder(policy: str, seed: int) -> keras.Model:
    """Faces (N, 64, 64, 3) to codes (N, 8, 8, 512)."""
    common = {"seed": f"{seed}/encoder", "dtype": policy}
    x = faces = keras.Input((RESOLUTION, RESOLUTION, 3), name="faces")
    for number, filters in enumerate((128, 256, 512, 1024)):
        x = Conv(filters, 5, 2, LEAKY, 0.1, name=f"down{number}", **common)(x)
    x = FlattenPlanes(name="flatten", dtype=policy)(x)  # (N, 4 * 4 * 1024)
    x = Dense(1024, name="dense1", **common)(x)  # the bottleneck: all that is known of a face
    x = Dense(4 * 4 * 1024, name="dense2", **common)(x)
    x = ReshapePlanes(4, 1024, name="reshape", dtype=policy)(x)
    return keras.Model(faces, upscale(x, CODE[-1], "up", common), name="encoder")


def build_decoder(name: str, policy: str, seed: int) -> keras.Model:
    """Codes to `face` (N, 64, 64, 3) and `mask` (N, 64, 64, 1), float32 in [0, 1]."""
    common = {"seed": f"{seed}/{name}", "dtype": policy}
    codes = keras.Input(CODE, name="codes")
    outputs = {}
    for output, channels, widths in (("face", 3, (256, 128, 64)), ("mask", 1, (64, 32, 16))):
        x = codes
        for number, filters in enumerate(widths):
            x = upscale(x, filters, f"{output}_up{number}", common)
        x = Conv(channels, 5, name=f"{output}_out", **common)(x)
        outputs[output] = Sigmoid(name=output)(x)
    return keras.Model(codes, outputs, name=name)


def upscale(x, filters: int, name: str, common: Mapping[str, Any]):
    """(N, H, W, C) to (N, 2H, 2W, filters): four times the channels, dealt out to squares of four pixels."""
    x = Conv(4 * filters, 3, 1, LEAKY, 0.1, name=name, **common)(x)
    return DepthToSpace(name=f"{name}_cells", dtype=common["dtype"])(x)


def absolute_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of each sample, (N,)."""
    return tf.reduce_mean(tf.abs(a - b), axis=(1, 2, 3))


class Original(NetworkModel):
    """See `Model`. One encoder and two decoders, 64 pixels, full face, 85 million weights."""

    kind = "Original"
    options_class = OriginalOptions
    part_names = swap_part_names = ("encoder", "decoder_src", "decoder_dst")
    resolution, face_type, recipe = RESOLUTION, "full_face", RECIPE

    def build_part(self, name: str, policy: str) -> keras.Model:
        if name == "encoder":
            return build_encoder(policy, self.options.seed)
        return build_decoder(name, policy, self.options.seed)

    def losses(self, tensors: Mapping[str, tf.Tensor]) -> StepLosses:
        """The mean absolute error of the whole crop, as at the first, and of the mask."""
        both = tf.concat([tensors["warped_src"], tensors["warped_dst"]], axis=0)
        codes = dict(zip(self.sides, tf.split(self.parts["encoder"](both), 2)))
        found = {}
        for side in self.sides:
            made = self.parts[f"decoder_{side}"](codes[side])
            found[side] = absolute_error(made["face"], tensors[f"target_{side}"])
            found[side] += absolute_error(made["mask"], tensors[f"target_{side}_mask"])
        return StepLosses(found, {MAIN: found["src"] + found["dst"]})

    def swap_graph(
        self, parts: Mapping[str, keras.Model], faces: tf.Tensor, **how: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        codes = parts["encoder"](faces)
        src, dst = parts["decoder_src"](codes), parts["decoder_dst"](codes)
        return src["face"], src["mask"], dst["mask"]

    def preview(self, batch: Batch) -> dict[str, np.ndarray]:
        src, dst = batch["target_src"][:PREVIEW_ROWS], batch["target_dst"][:PREVIEW_ROWS]
        codes_src, codes_dst = (self.parts["encoder"](tf.constant(faces, tf.float32)) for faces in (src, dst))
        src_src = self.parts["decoder_src"](codes_src)
        dst_dst, swap = (self.parts[f"decoder_{side}"](codes_dst) for side in ("dst", "src"))
        plain = (src, src_src["face"], dst, dst_dst["face"], swap["face"])
        return {"Original": grid(tuple(np.asarray(column) for column in plain))}
