"""How SAEHD's networks are joined, in df and in liae: graphs over the parts by name.

df has one code for a face and a decoder for each person. liae has one decoder; a code is two halves, and
whose face it draws depends on the inter that made the first: `inter_B` for the destination, otherwise
`inter_AB`, which makes every second half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf

from core.nn.archi import mask_only
from core.nn.losses import fan_out

PARTS = {
    "df": ("encoder", "inter", "decoder_src", "decoder_dst"),
    "liae": ("encoder", "inter_AB", "inter_B", "decoder"),
}
READERS = {"df": ("inter/dense1",), "liae": ("inter_AB/dense1", "inter_B/dense1")}  # of the encoder's vector
INTERS = {"df": ("inter",), "liae": ("inter_AB", "inter_B")}

Parts = Mapping[str, keras.Model]
Output = dict[str, tf.Tensor]  # `face` (N, R, R, 3) and `mask` (N, R, R, 1)


@dataclass(frozen=True)
class Pass:
    """What one pass makes of N faces of each person."""

    src: Output
    dst: Output
    swap: Output | None  # the source's face with the destination's expression
    painted: Output | None  # the same, with gradients to the decoder only
    codes: tf.Tensor | None  # (2N, side, side, C) of df, the source's before the destination's


def run(parts: Parts, src: tf.Tensor, dst: tf.Tensor, swap: bool = False, painted: bool = False) -> Pass:
    """Both persons' faces through all networks, each of which is called once.

    Args:
        src: Inputs (N, R, R, 3).
        dst: Inputs of the destination, as many.
        swap: Make `Pass.swap`, too.
        painted: Make `Pass.painted`, too.
    """
    features = parts["encoder"](tf.concat([src, dst], axis=0))
    if "inter" in parts:
        return _run_df(parts, features, swap, painted)
    return _run_liae(parts, features, swap, painted)


def _run_df(parts: Parts, features: tf.Tensor, swap: bool, painted: bool) -> Pass:
    codes = parts["inter"](features)
    code_src, code_dst = tf.split(codes, 2)
    of_src, of_dst = [code_src], code_dst
    if swap:  # a decoder uses its code twice
        of_dst, of_swap = fan_out(code_dst, 2)
        of_src.append(of_swap)
    if painted:
        of_src.append(tf.stop_gradient(code_dst))
    made = _decoded(parts["decoder_src"], of_src)
    return Pass(
        src=made[0],
        dst=parts["decoder_dst"](of_dst),
        swap=made[1] if swap else None,
        painted=made[-1] if painted else None,
        codes=codes,
    )


def _run_liae(parts: Parts, features: tf.Tensor, swap: bool, painted: bool) -> Pass:
    shared_src, shared_dst = tf.split(parts["inter_AB"](features), 2)
    own_dst = parts["inter_B"](tf.split(features, 2)[1])
    of_dst, *of_swap = fan_out(shared_dst, 3 if swap else 1)
    codes = [_code(shared_src, shared_src), _code(own_dst, of_dst)]
    if swap:
        codes.append(_code(*of_swap))
    if painted:
        fixed = tf.stop_gradient(shared_dst)
        codes.append(_code(fixed, fixed))
    made = _decoded(parts["decoder"], codes)
    return Pass(
        src=made[0],
        dst=made[1],
        swap=made[2] if swap else None,
        painted=made[-1] if painted else None,
        codes=None,
    )


def _code(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    return tf.concat([first, second], axis=-1)


def _decoded(decoder: keras.Model, codes: list[tf.Tensor]) -> list[Output]:
    """The outputs of equally large batches of codes, decoded as one."""
    outputs = decoder(tf.concat(codes, axis=0))
    pieces = {name: tf.split(outputs[name], len(codes)) for name in ("face", "mask")}
    return [{name: piece[number] for name, piece in pieces.items()} for number in range(len(codes))]


def swap(parts: Parts, faces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The source's face in place of the destination's, its mask, and the mask of the destination's face."""
    features = parts["encoder"](faces)
    if "inter" in parts:
        code = parts["inter"](features)
        out, dst_mask = parts["decoder_src"](code), mask_only(parts["decoder_dst"])(code)
    else:
        shared = parts["inter_AB"](features)
        out = parts["decoder"](_code(shared, shared))
        dst_mask = mask_only(parts["decoder"])(_code(parts["inter_B"](features), shared))
    return out["face"], out["mask"], dst_mask
