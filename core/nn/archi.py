"""The families of face-swap autoencoders: df and liae with DFL's options u, d, t and c, and AMP.

Layer names are DFL's weight paths, so that its files map onto the networks one to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras
import tensorflow as tf

from core.errors import UsageError
from core.nn.archi_names import resolution_step, split_archi
from core.nn.layers import (
    COSINE,
    LEAKY,
    AddActivate,
    Conv,
    Dense,
    DepthToSpace,
    DoubledConv,
    FlattenPlanes,
    PixelNorm,
    ReshapePlanes,
    Sigmoid,
)


@dataclass(frozen=True)
class Archi:
    """An architecture string such as `df-ud`, taken apart, with the sizes of its networks."""

    family: str  # df: a decoder for each person; liae: one decoder, two halves of the code
    letters: frozenset[str]
    resolution: int
    ae_dims: int
    e_dims: int
    d_dims: int
    d_mask_dims: int

    @classmethod
    def parse(
        cls, text: str, resolution: int, ae_dims: int, e_dims: int, d_dims: int, d_mask_dims: int
    ) -> Archi:
        """Check and take apart `text`.

        Raises:
            UsageError: It is no architecture, or the resolution is no multiple of what it needs.
        """
        family, letters = split_archi(text)
        step = resolution_step(letters)
        if resolution % step:
            raise UsageError(
                f"archi {text!r} needs a resolution that is a multiple of {step}, not {resolution}"
            )
        return cls(family, letters, resolution, ae_dims, e_dims, d_dims, d_mask_dims)

    @property
    def activation(self) -> str:
        return COSINE if "c" in self.letters else LEAKY

    @property
    def features(self) -> int:
        """Length of the encoder's vector."""
        return 8 * self.e_dims * (self.resolution // (32 if "t" in self.letters else 16)) ** 2

    @property
    def inter_side(self) -> int:
        return self.resolution // (32 if "d" in self.letters else 16)

    @property
    def inter_channels(self) -> int:
        return self.ae_dims * (2 if self.family == "liae" else 1)

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what a decoder is given."""
        side = self.inter_side * (1 if "t" in self.letters else 2)
        return side, side, self.inter_channels * (2 if self.family == "liae" else 1)


@dataclass(frozen=True)
class AmpArchi:
    """The sizes of AMP's networks: those of options u, d and t, with the bottleneck in the encoder."""

    resolution: int
    ae_dims: int
    inter_dims: int
    e_dims: int
    d_dims: int
    d_mask_dims: int
    letters: ClassVar[frozenset[str]] = frozenset("udt")
    activation: ClassVar[str] = LEAKY

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: The resolution is no multiple of 32.
        """
        if self.resolution % 32:
            raise UsageError(f"AMP needs a resolution that is a multiple of 32, not {self.resolution}")

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what the decoder is given."""
        return self.resolution // 32, self.resolution // 32, self.inter_dims


class _Blocks:
    """DFL's three blocks with the settings that all layers of a network share."""

    def __init__(self, archi: Archi | AmpArchi, dtype: str, seed: int, part: str) -> None:
        self.archi, self.dtype = archi, dtype
        self.common = {"dtype": dtype}
        self.seed = f"{seed}/{part}"

    def conv(self, x, filters: int, kernel: int, name: str, stride: int = 1, slope: float | None = None):
        kind = None if slope is None else self.archi.activation
        layer = Conv(filters, kernel, stride, kind, slope or 0.0, seed=self.seed, name=name, **self.common)
        return layer(x)

    def down(self, x, filters: int, name: str):
        return self.conv(x, filters, 5, f"{name}.conv1", stride=2, slope=0.1)  # (N, H/2, W/2, filters)

    def up(self, x, filters: int, name: str):
        x = self.conv(x, filters * 4, 3, f"{name}.conv1", slope=0.1)
        return DepthToSpace(name=f"{name}.cells", **self.common)(x)  # (N, 2H, 2W, filters)

    def residual(self, x, name: str):
        y = self.conv(x, x.shape[-1], 3, f"{name}.conv1", slope=0.2)
        y = self.conv(y, x.shape[-1], 3, f"{name}.conv2")
        return AddActivate(self.archi.activation, 0.2, name=f"{name}.sum", **self.common)([x, y])


def build_encoder(archi: Archi, dtype: str = "float32", seed: int = 0, name: str = "encoder") -> keras.Model:
    """An image (N, R, R, 3) in [0, 1] to its vector (N, features)."""
    image = keras.Input((archi.resolution, archi.resolution, 3), name="image")
    return keras.Model(image, _vector(_Blocks(archi, dtype, seed, name), image), name=name)


def _vector(blocks: _Blocks, x):
    """An image's downscaled maps in one vector."""
    archi, e = blocks.archi, blocks.archi.e_dims
    if "t" in archi.letters:
        x = blocks.residual(blocks.down(x, e, "down1"), "res1")
        for number, width in enumerate((2 * e, 4 * e, 8 * e, 8 * e), start=2):
            x = blocks.down(x, width, f"down{number}")
        x = blocks.residual(x, "res5")
    else:
        for number, width in enumerate((e, 2 * e, 4 * e, 8 * e)):
            x = blocks.down(x, width, f"down1.downs_{number}")
    x = FlattenPlanes(name="flatten", **blocks.common)(x)
    return PixelNorm(name="pixel_norm")(x) if "u" in archi.letters else x


def build_inter(archi: Archi, dtype: str = "float32", seed: int = 0, name: str = "inter") -> keras.Model:
    """The encoder's vector to a code (N, side, side, inter_channels)."""
    blocks, side, channels = _Blocks(archi, dtype, seed, name), archi.inter_side, archi.inter_channels
    vector = keras.Input((archi.features,), name="vector")
    x = Dense(archi.ae_dims, seed=blocks.seed, name="dense1", dtype=dtype)(vector)
    x = Dense(side * side * channels, seed=blocks.seed, name="dense2", dtype=dtype)(x)
    x = ReshapePlanes(side, channels, name="reshape", dtype=dtype)(x)
    if "t" not in archi.letters:
        x = blocks.up(x, channels, "upscale1")
    return keras.Model(vector, x, name=name)


def build_decoder(
    archi: Archi | AmpArchi, dtype: str = "float32", seed: int = 0, name: str = "decoder"
) -> keras.Model:
    """A code to the outputs `face` (N, R, R, 3) and `mask` (N, R, R, 1), float32 in [0, 1]."""
    blocks = _Blocks(archi, dtype, seed, name)
    code = keras.Input(archi.code_shape, name="code")
    face = _face_branch(blocks, code)
    mask = _mask_branch(blocks, code)
    return keras.Model(code, {"face": face, "mask": mask}, name=name)


def build_amp_encoder(
    archi: AmpArchi, dtype: str = "float32", seed: int = 0, name: str = "encoder"
) -> keras.Model:
    """An image (N, R, R, 3) in [0, 1] to its vector (N, ae_dims), the bottleneck being here with AMP."""
    blocks = _Blocks(archi, dtype, seed, name)
    image = keras.Input((archi.resolution, archi.resolution, 3), name="image")
    vector = Dense(archi.ae_dims, seed=blocks.seed, name="dense1", dtype=dtype)(_vector(blocks, image))
    return keras.Model(image, vector, name=name)


def build_amp_inter(
    archi: AmpArchi, dtype: str = "float32", seed: int = 0, name: str = "inter_src"
) -> keras.Model:
    """The vector (N, ae_dims) to one person's code (N, R / 32, R / 32, inter_dims)."""
    side, _, channels = archi.code_shape
    vector = keras.Input((archi.ae_dims,), name="vector")
    x = Dense(side * side * channels, seed=f"{seed}/{name}", name="dense2", dtype=dtype)(vector)
    return keras.Model(vector, ReshapePlanes(side, channels, name="reshape", dtype=dtype)(x), name=name)


def morph_codes(code_src: tf.Tensor, code_dst: tf.Tensor, morph: tf.Tensor | float) -> tf.Tensor:
    """AMP's swap code: the first `int(I morph)` of I channels from `code_src`, the others from `code_dst`.

    Args:
        code_src: (N, side, side, I), and `code_dst` alike.
        morph: In [0, 1]: (), (1,) or (N,) float32. The product is cut off in float32, as DFL does.
    """
    channels = code_src.shape[-1]
    count = tf.cast(tf.cast(channels, tf.float32) * tf.cast(morph, tf.float32), tf.int32)
    return tf.where(tf.range(channels) < tf.reshape(count, (-1, 1, 1, 1)), code_src, code_dst)


def mask_only(decoder: keras.Model) -> keras.Model:
    """The mask branch of a decoder, sharing its weights; spares the image branch, most of the work."""
    return keras.Model(decoder.input, decoder.output["mask"], name=decoder.name)


def _face_branch(blocks: _Blocks, code):
    archi, d, x = blocks.archi, blocks.archi.d_dims, code
    widths = (8 * d, 8 * d, 4 * d, 2 * d) if "t" in archi.letters else (8 * d, 4 * d, 2 * d)
    for level, width in enumerate(widths):
        x = blocks.residual(blocks.up(x, width, f"upscale{level}"), f"res{level}")
    if "d" in archi.letters:
        x = DoubledConv(seed=blocks.seed, name="out", dtype=blocks.dtype)(x)
    else:
        x = blocks.conv(x, 3, 1, "out_conv")
    return Sigmoid(name="face")(x)


def _mask_branch(blocks: _Blocks, code):
    archi, m, x = blocks.archi, blocks.archi.d_mask_dims, code
    widths = (8 * m, 8 * m, 4 * m, 2 * m) if "t" in archi.letters else (8 * m, 4 * m, 2 * m)
    for level, width in enumerate(widths + ((m,) if "d" in archi.letters else ())):
        x = blocks.up(x, width, f"upscalem{level}")
    return Sigmoid(name="mask")(blocks.conv(x, 1, 1, "out_convm"))
