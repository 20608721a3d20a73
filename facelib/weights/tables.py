"""Names and shapes of the tensors in DFL's four weight files, from compact descriptions of the networks.

A name is the path of the variable without TensorFlow's `:0`. Convolution kernels are (height, width, in,
out); what has one number per channel is given as (C,), though some files store it as (1, 1, 1, C).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

_S3FD_CONVOLUTIONS = """
conv1_1 3 3 64      conv1_2 3 64 64     conv2_1 3 64 128    conv2_2 3 128 128
conv3_1 3 128 256   conv3_2 3 256 256   conv3_3 3 256 256
conv4_1 3 256 512   conv4_2 3 512 512   conv4_3 3 512 512
conv5_1 3 512 512   conv5_2 3 512 512   conv5_3 3 512 512
fc6 3 512 1024      fc7 1 1024 1024     conv6_1 1 1024 256  conv6_2 3 256 512
conv7_1 1 512 128   conv7_2 3 128 256
"""  # name, side of the kernel, channels in, channels out
_S3FD_TAPS = {  # name -> channels; each tap has a head for confidence and one for location
    "conv3_3_norm": 256,
    "conv4_3_norm": 512,
    "conv5_3_norm": 512,
    "fc7": 1024,
    "conv6_2": 512,
    "conv7_2": 256,
}
_ENHANCER_CONVOLUTIONS = """
conv1 3 64
e0_conv0 64 64       e0_conv1 64 64       e1_conv0 64 112      e1_conv1 112 112
e2_conv0 112 192     e2_conv1 192 192     e3_conv0 192 336     e3_conv1 336 336
e4_conv0 336 512     e4_conv1 512 512
center_conv0 512 512 center_conv1 512 512 center_conv2 512 512 center_conv3 512 512
d4_conv0 1024 512    d4_conv1 512 512     d3_conv0 848 512     d3_conv1 512 512
d2_conv0 704 288     d2_conv1 288 288     d1_conv0 400 160     d1_conv1 160 160
d0_conv0 224 96      d0_conv1 96 96
out1x_conv0 96 48    out1x_conv1 48 3     dec2x_conv0 96 96    dec2x_conv1 96 96
out2x_conv0 96 48    out2x_conv1 48 3     dec4x_conv0 96 72    dec4x_conv1 72 72
out4x_conv0 72 36    out4x_conv1 36 3
"""  # name, channels in, channels out; all kernels are 3 x 3
_FAN_STACKS, _FAN_DEPTH, _FAN_WIDTH, _FAN_POINTS = 4, 4, 256, 68


def s3fd_shapes() -> Shapes:
    """65 tensors, 22,459,110 numbers."""
    shapes: Shapes = {}
    for name, side, before, after in _rows(_S3FD_CONVOLUTIONS, 4):
        shapes |= _convolution(name, int(side), int(before), int(after))
    for level, (tap, channels) in enumerate(_S3FD_TAPS.items()):
        if tap.endswith("_norm"):
            shapes[f"{tap}/weight"] = (channels,)
        shapes |= _convolution(f"{tap}_mbox_conf", 3, channels, 4 if level == 0 else 2)
        shapes |= _convolution(f"{tap}_mbox_loc", 3, channels, 4)
    return shapes


def fan_shapes() -> Shapes:
    """945 tensors, 23,874,320 numbers; the same for 2DFAN and 3DFAN."""
    width = _FAN_WIDTH
    shapes = _convolution("conv1", 7, 3, 64) | _batch_norm("bn1", 64)
    for name, before, after in (("conv2", 64, 128), ("conv3", 128, 128), ("conv4", 128, width)):
        shapes |= _fan_block(name, before, after)
    for stack in range(_FAN_STACKS):
        for path in _hourglass_paths(_FAN_DEPTH):
            shapes |= _fan_block(f"m_{stack}/{path}", width, width)
        shapes |= _fan_block(f"top_m_{stack}", width, width)
        shapes |= _convolution(f"conv_last_{stack}", 1, width, width) | _batch_norm(f"bn_end_{stack}", width)
        shapes |= _convolution(f"l_{stack}", 1, width, _FAN_POINTS)
        if stack + 1 < _FAN_STACKS:  # what the next stack is fed
            shapes |= _convolution(f"bl_{stack}", 1, width, width)
            shapes |= _convolution(f"al_{stack}", 1, _FAN_POINTS, width)
    return shapes


def enhancer_shapes() -> Shapes:
    """72 tensors, 33,111,401 numbers."""
    shapes: Shapes = {"dense1/weight": (1, 64), "dense2/weight": (1, 64)}
    for name, before, after in _rows(_ENHANCER_CONVOLUTIONS, 3):
        shapes |= _convolution(name, 3, int(before), int(after))
    return shapes


def _rows(table: str, width: int) -> Iterator[list[str]]:
    words = table.split()
    yield from (words[at : at + width] for at in range(0, len(words), width))


def _convolution(name: str, side: int, before: int, after: int) -> Shapes:
    return {f"{name}/weight": (side, side, before, after), f"{name}/bias": (after,)}


def _batch_norm(name: str, channels: int) -> Shapes:
    return {f"{name}/{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _fan_block(name: str, before: int, after: int) -> Shapes:
    """Three convolutions without bias, each behind its batch norm; a fourth where the width changes."""
    widths = (before, after // 2, after // 4, after // 4)
    shapes: Shapes = {}
    for number, (into, out) in enumerate(pairwise(widths), start=1):
        shapes |= _batch_norm(f"{name}/bn{number}", into)
        shapes[f"{name}/conv{number}/weight"] = (3, 3, into, out)
    if before != after:
        shapes |= _batch_norm(f"{name}/down_bn1", before)
        shapes[f"{name}/down_conv1/weight"] = (1, 1, before, after)
    return shapes


def _hourglass_paths(depth: int) -> Iterator[str]:
    """Blocks of an hourglass, in which `b2_plus` is the hourglass inside; the innermost is one block."""
    for level in range(depth):
        yield from (f"{'b2_plus/' * level}{name}" for name in ("b1", "b2", "b3"))
    yield "/".join(["b2_plus"] * depth)
