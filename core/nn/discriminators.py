"""DFL's two discriminators: of faces, patch by patch (SAEHD's and AMP's GAN), and of codes (true face).

Layer names are DFL's weight paths. Both return logits, in the type that the network computes in.
"""

from __future__ import annotations

import keras

from core.nn.layers import LEAKY, Conv, ConvTransposed
from core.nn.patch_plan import check_patch_size, patch_strides

PATCH_SLOPE, CODE_SLOPE = 0.2, 0.1
WIDEST_PATCH, CODE_WIDTH = 512, 256


def build_patch_discriminator(
    resolution: int,
    patch_size: int,
    dims: int,
    dtype: str = "float32",
    seed: int = 0,
    name: str = "D_src",
) -> keras.Model:
    """A U-Net that judges a face (N, R, R, 3) coarsely and pixel by pixel.

    Args:
        resolution: R.
        patch_size: Pixels that one number of the coarse output looks at, about (`patch_strides`).
        dims: Channels at full resolution; doubled by every layer, up to 512.
        dtype: A Keras dtype policy.
        seed: Of the weights.
        name: The part's name: `D_src` in SAEHD, `GAN` in AMP.

    Returns:
        A network with the outputs `center` (N, R / s, R / s, 1), where s is the product of the strides, and
        `out` (N, R, R, 1), both logits.

    Raises:
        UsageError: The resolution is no multiple of s.
    """
    check_patch_size(resolution, patch_size)
    strides, common = patch_strides(patch_size), {"seed": f"{seed}/{name}", "dtype": dtype}
    widths = [min(dims * 2**level, WIDEST_PATCH) for level in range(1, len(strides) + 1)]
    leaky = {"activation": LEAKY, "slope": PATCH_SLOPE, **common}

    face = keras.Input((resolution, resolution, 3), name="face")
    x, skips = Conv(dims, 1, name="in_conv", **leaky)(face), []
    for number, (width, stride) in enumerate(zip(widths, strides)):
        skips.append(x)
        x = Conv(width, 3, stride, name=f"convs_{number}", **leaky)(x)
    center = Conv(1, 1, name="center_out", **common)(x)
    x = Conv(widths[-1], 1, name="center_conv", **leaky)(x)
    for number, (skip, stride) in enumerate(zip(reversed(skips), reversed(strides))):
        raise_ = ConvTransposed(skip.shape[-1], stride, PATCH_SLOPE, name=f"upconvs_{number}", **common)
        x = keras.layers.Concatenate(name=f"skip_{number}", dtype=dtype)([skip, raise_(x)])
    out = Conv(1, 1, name="out_conv", **common)(x)
    return keras.Model(face, {"center": center, "out": out}, name=name)


def build_code_discriminator(
    code_shape: tuple[int, int, int], dtype: str = "float32", seed: int = 0, name: str = "dis"
) -> keras.Model:
    """Whose code is it: a df code (N, side, side, C) to logits, a small map (N, h, w, 1)."""
    common = {"seed": f"{seed}/{name}", "dtype": dtype}
    code = x = keras.Input(code_shape, name="code")
    for level in range(1 + code_shape[0] // 8):
        kernel, width = (3 if level else 4), CODE_WIDTH * min(2**level, 8)
        x = Conv(width, kernel, 2, LEAKY, CODE_SLOPE, name=f"convs_{level}", **common)(x)
    logits = Conv(1, 1, name="out_conv", **common)(x)
    return keras.Model(code, logits, name=name)
