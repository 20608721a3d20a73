"""The df autoencoder: one encoder and inter, a decoder for each person; graphs over its parts by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from core.nn import archi as nets
from core.nn.losses import dssim, gaussian_blur, squared_error
from models.base import Batch
from models.network import NetworkModel, Tuning
from models.priming import PersonFeatures, fit_bottleneck

PARTS = ("encoder", "inter", "decoder_src", "decoder_dst")
READERS = ("inter/dense1",)  # the layers that read the encoder's features
PRIMING_FACES, LEAST_PRIMING_FACES = 320, 160  # of each person: several for each output of the bottleneck
PRIMING_PIXELS = PRIMING_FACES * 128**2  # beyond which fewer faces are read: a few seconds' work
PRIMING_BYTES = 2**30  # of features, which of large faces are hundreds of thousands each
PREVIEW_ROWS = 4

Parts = Mapping[str, keras.Model]


def build_part(archi: nets.Archi, name: str, policy: str, seed: int) -> keras.Model:
    """The network that DFL's name of a part stands for."""
    if name == "encoder":
        return nets.build_encoder(archi, policy, seed)
    if name.startswith("inter"):
        return nets.build_inter(archi, policy, seed, name)
    return nets.build_decoder(archi, policy, seed, name)


def encode(parts: Parts, images: tf.Tensor) -> tf.Tensor:
    """The code of faces (N, R, R, 3), as the decoders take it."""
    return parts["inter"](parts["encoder"](images))


def reconstruct(parts: Parts, src: tf.Tensor, dst: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both persons by their own decoders, src before dst: faces (2N, R, R, 3) and masks (2N, R, R, 1)."""
    code_src, code_dst = tf.split(encode(parts, tf.concat([src, dst], axis=0)), 2)
    src_out, dst_out = parts["decoder_src"](code_src), parts["decoder_dst"](code_dst)
    return (
        tf.concat([src_out["face"], dst_out["face"]], axis=0),
        tf.concat([src_out["mask"], dst_out["mask"]], axis=0),
    )


def show(parts: Parts, src: tf.Tensor, dst: tf.Tensor) -> dict[str, tf.Tensor]:
    """Everything a preview needs: both reconstructions and the swap, with masks."""
    src_out = parts["decoder_src"](encode(parts, src))
    code_dst = encode(parts, dst)
    dst_out, swap = parts["decoder_dst"](code_dst), parts["decoder_src"](code_dst)
    outputs = {"src": src_out, "dst": dst_out, "swap": swap}
    return {f"{name}_{key}": out[key] for name, out in outputs.items() for key in ("face", "mask")}


def swap(parts: Parts, faces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The source's face in place of the destination's, and the masks of both decoders."""
    code = encode(parts, faces)
    out = parts["decoder_src"](code)
    return out["face"], out["mask"], nets.mask_only(parts["decoder_dst"])(code)


def masked_losses(
    target: tf.Tensor, mask: tf.Tensor, face: tf.Tensor, face_mask: tf.Tensor
) -> dict[str, tf.Tensor]:
    """DFL's loss terms of one reconstruction, (N,) each, as Quick96 weighs them.

    Args:
        target: (N, R, R, 3) what the face should be.
        mask: (N, R, R, 1) the mask of the target.
        face: (N, R, R, 3) the reconstruction.
        face_mask: (N, R, R, 1) the mask that the decoder made.
    """
    soft = gaussian_blur(mask, max(1, target.shape[1] // 32))
    wanted, found = target * soft, face * soft
    size = int(target.shape[1] / 11.6)
    return {
        "dssim": 10.0 * tf.reduce_mean(dssim(wanted, found, (size,)), axis=-1),
        "pixels": 10.0 * squared_error(wanted, found),
        "mask": 10.0 * squared_error(mask, face_mask),
    }


def slow_parts(readers: Sequence[str] = READERS) -> tuple[str, ...]:
    """Prefixes of the paths of all that reads the face: the encoder and the layers behind it."""
    return ("encoder/", *(f"{layer}/" for layer in readers))


def priming_tuning(model: NetworkModel, readers: Sequence[str] = READERS) -> Tuning:
    """What the fast recipe treats apart: the parts that read the face, and the decoders' kernels."""
    paths = [path for path in model.variables if path.startswith("decoder") and path.endswith("/weight")]
    return Tuning(slow=slow_parts(readers), decayed=tuple(paths))


def prime(
    model: NetworkModel, batches: Callable[[int], Batch], dims: int, readers: Sequence[str] = READERS
) -> None:
    """Fit the first dense layer of a fresh model to the faces; see `models.priming`.

    Args:
        model: What to prime.
        batches: The batch of a number; it holds the landmarks of all sides, as `landmarks_src`.
        dims: Outputs of the layer.
        readers: The layers to fit; all get the same weights.
    """
    faces = _priming_faces(model, model.variables[f"{readers[0]}/weight"].shape[0])
    found: dict[str, list[np.ndarray]] = {}
    for number in range(math.ceil(faces / model.options.batch_size)):
        batch = batches(number)
        for name in (f"{kind}_{side}" for kind in ("warped", "target") for side in model.sides):
            code = model.parts["encoder"](tf.constant(batch[name], tf.float32))
            found.setdefault(name, []).append(code.numpy().astype(np.float32))
        for name in (f"landmarks_{side}" for side in model.sides):
            found.setdefault(name, []).append(batch[name])
    persons = [
        PersonFeatures(
            *(np.concatenate(found.pop(f"{kind}_{side}")) for kind in ("warped", "target", "landmarks"))
        )
        for side in model.sides
    ]
    weight, bias = fit_bottleneck(persons, dims)
    for layer in readers:
        model.variables[f"{layer}/weight"].assign(weight)
        model.variables[f"{layer}/bias"].assign(bias)
    model.is_fresh = False


def _priming_faces(model: NetworkModel, features: int) -> int:
    """How many faces of each person are read, by the time and the memory that it takes."""
    in_time = max(LEAST_PRIMING_FACES, PRIMING_PIXELS // model.resolution**2)
    in_memory = PRIMING_BYTES // (2 * len(model.sides) * 4 * features)
    return max(1, min(PRIMING_FACES, in_time, in_memory))


def grid(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """Batches side by side, samples below each other: (N R, K R, 3) float32 in [0, 1]."""
    rows = [np.concatenate(row, axis=1) for row in zip(*columns)]
    return np.clip(np.concatenate(rows, axis=0), 0.0, 1.0).astype(np.float32)
