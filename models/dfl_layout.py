"""What DeepFaceLab's model files hold, from a model's options alone: file names, weights, optimizer, options.

Nothing here needs TensorFlow. The tables of weights are written apart from our networks on purpose: a model
is held against them before it is given to DeepFaceLab, which itself begins anew, silently, with whatever
does not fit. Their order is the one in which DeepFaceLab creates the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import CheckpointError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

KINDS = ("AMP", "Quick96", "SAEHD")
DATA, SUMMARY = "data.dat", "summary.txt"
MAIN_OPTIMIZER_FILE = "src_dst_opt.npy"
DISCRIMINATOR_FILES = {  # part: files of its weights and of its optimizer
    "dis": ("code_discriminator.npy", "D_code_opt.npy"),
    "D_src": ("GAN.npy", "GAN_opt.npy"),
    "GAN": ("GAN.npy", "GAN_opt.npy"),
}
DISCRIMINATORS = {"Quick96": (), "SAEHD": ("dis", "D_src"), "AMP": ("GAN",)}  # by kind
UNTRAINED = {"AMP": ("inter_src", "inter_dst")}  # parts without slots, by kind
SLOTS = {"acc": "acc", "ms": "m", "vs": "v"}  # DeepFaceLab's slot names and ours
OUR_SLOTS = {ours: theirs for theirs, ours in SLOTS.items()}
COUNTER = "iters:0"
LONGEST_GAN, MOST_CHANNELS = 9, 512


def dfl_prefix(model_dir: Path | str, name: str, kind: str) -> Path:
    """What the names of a model's files begin with; append `_encoder.npy` and so on."""
    return Path(model_dir) / f"{name}_{kind}"


def file_of(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(f"{prefix.name}_{suffix}")


def weight_file(part: str) -> str:
    """Suffix of the file that a part's weights are in."""
    return DISCRIMINATOR_FILES[part][0] if part in DISCRIMINATOR_FILES else f"{part}.npy"


def part_of(path: str) -> str:
    """The part that a weight belongs to."""
    return path.partition("/")[0]


def weight_key(path: str) -> str:
    """`encoder/down1/conv1/weight` in the file of its part."""
    return f"{path.partition('/')[2]}:0"


def slot_key(slot: str, path: str) -> str:
    """A slot (`acc`, `m` or `v`) of a weight in an optimizer's file."""
    return f"{OUR_SLOTS[slot]}_{path}_0:0"


# The weights, by sections 4, 5 and 8 of the reference


@dataclass(frozen=True)
class Dims:
    """The options that shapes follow from."""

    family: str  # df, liae or amp
    letters: frozenset[str]
    resolution: int
    ae: int
    e: int
    d: int
    mask: int
    inter: int = 0  # AMP's width of the code

    @property
    def shrink(self) -> int:
        """How much smaller than the face the encoder's planes are."""
        return 32 if "t" in self.letters else 16

    @property
    def side(self) -> int:
        """Side of the code as `dense2` makes it."""
        return self.resolution // (32 if "d" in self.letters else 16)

    @property
    def code_side(self) -> int:
        return self.side if "t" in self.letters else 2 * self.side


QUICK96 = Dims("df", frozenset("ud"), 96, 128, 64, 64, 16)


def dims_of(kind: str, options: Mapping[str, Any]) -> Dims:
    """The sizes of a model's networks from its options, under DeepFaceLab's names.

    Raises:
        CheckpointError: DeepFaceLab has no such kind, or options are missing or cannot be.
    """
    if kind == "Quick96":
        return QUICK96
    names = ("resolution", "ae_dims", "e_dims", "d_dims", "d_mask_dims")
    try:
        sizes = [int(options[name]) for name in names]
        if kind == "AMP":
            return Dims("amp", frozenset("udt"), *sizes, inter=int(options["inter_dims"]))
        family, _, letters = str(options["archi"]).partition("-")
    except (KeyError, TypeError, ValueError) as err:
        raise CheckpointError(f"the options lack a size of the networks ({err})") from err
    if kind != "SAEHD" or family not in ("df", "liae"):
        raise CheckpointError(f"DeepFaceLab has no {kind} model of the architecture {options['archi']!r}")
    return Dims(family, frozenset(letters), *sizes)


def network_shapes(dims: Dims) -> dict[str, Shape]:
    """Path and shape of every weight but the discriminators', in the order of creation."""
    code = {"df": dims.ae, "liae": 4 * dims.ae, "amp": dims.inter}[dims.family]
    parts = {"encoder": dict(_encoder(dims))}
    if dims.family == "amp":
        bottleneck = dict(_dense("dense2", dims.ae, dims.side**2 * dims.inter))
        parts |= {"inter_src": bottleneck, "inter_dst": bottleneck, "decoder": dict(_decoder(dims, code))}
    elif dims.family == "df":
        decoder = dict(_decoder(dims, code))
        parts |= {
            "inter": dict(_inter(dims, dims.ae)),
            "decoder_src": decoder,
            "decoder_dst": decoder,
        }
    else:
        inter = dict(_inter(dims, 2 * dims.ae))
        parts |= {"inter_AB": inter, "inter_B": inter, "decoder": dict(_decoder(dims, code))}
    return {f"{part}/{path}": shape for part, entries in parts.items() for path, shape in entries.items()}


def gan_shapes(part: str, channels: int, layers: int) -> dict[str, Shape]:
    """The weights of a GAN discriminator; strides do not show in them."""
    widths = [channels, *(min(channels * 2 ** (i + 1), MOST_CHANNELS) for i in range(layers))]
    entries = dict(_conv("in_conv", 1, 3, channels))
    for i in range(layers):
        entries |= _conv(f"convs_{i}", 3, widths[i], widths[i + 1])
    entries |= _conv("center_out", 1, widths[-1], 1)
    entries |= _conv("center_conv", 1, widths[-1], widths[-1])
    for j, i in enumerate(reversed(range(layers))):
        deep = widths[i + 1] * (2 if j else 1)  # the outcome before and the skipped one
        entries |= {f"upconvs_{j}/weight": (3, 3, widths[i], deep), f"upconvs_{j}/bias": (widths[i],)}
    entries |= _conv("out_conv", 1, 2 * channels, 1)
    return {f"{part}/{path}": shape for path, shape in entries.items()}


def code_discriminator_shapes(ae_dims: int, layers: int) -> dict[str, Shape]:
    """The weights of SAEHD's `dis`, which has `1 + code side // 8` layers."""
    widths = [256 * min(2**i, 8) for i in range(layers)]
    entries = dict(_conv("convs_0", 4, ae_dims, 256))
    for i in range(1, layers):
        entries |= _conv(f"convs_{i}", 3, widths[i - 1], widths[i])
    entries |= _conv("out_conv", 1, widths[-1], 1)
    return {f"dis/{path}": shape for path, shape in entries.items()}


def discriminator_shapes(part: str, weights: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """All weights of the discriminator that these are (some) of, by the size they show themselves.

    Changed options give a discriminator another size, and DeepFaceLab leaves the old file until it saves the
    next. Such a file is sound; one in which a weight lacks or sticks out is not.
    """
    layers = sum(path.startswith(f"{part}/convs_") and path.endswith("/weight") for path in weights)
    layers = min(max(layers, 1), LONGEST_GAN if part != "dis" else 16)
    if part == "dis":
        return code_discriminator_shapes(_side(weights, "dis/convs_0/weight", 2), layers)
    return gan_shapes(part, _side(weights, f"{part}/in_conv/weight", 3), layers)


def _side(weights: Mapping[str, np.ndarray], path: str, axis: int) -> int:
    shape = weights[path].shape if path in weights else ()
    return shape[axis] if len(shape) == 4 else 1


def _conv(name: str, kernel: int, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/weight", (kernel, kernel, inputs, outputs)
    yield f"{name}/bias", (outputs,)


def _dense(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}/weight", (inputs, outputs)
    yield f"{name}/bias", (outputs,)


def _residual(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield from _conv(f"{name}/conv1", 3, width, width)
    yield from _conv(f"{name}/conv2", 3, width, width)


def _encoder(dims: Dims) -> Iterator[tuple[str, Shape]]:
    e = dims.e
    widths = (3, e, 2 * e, 4 * e, 8 * e, 8 * e)
    if "t" in dims.letters:
        for number in range(1, 6):
            yield from _conv(f"down{number}/conv1", 5, widths[number - 1], widths[number])
            if number in (1, 5):
                yield from _residual(f"res{number}", widths[number])
    else:
        for number in range(4):
            yield from _conv(f"down1/downs_{number}/conv1", 5, widths[number], widths[number + 1])
    if dims.family == "amp":
        yield from _dense("dense1", _features(dims), dims.ae)


def _features(dims: Dims) -> int:
    return 8 * dims.e * (dims.resolution // dims.shrink) ** 2


def _inter(dims: Dims, width: int) -> Iterator[tuple[str, Shape]]:
    yield from _dense("dense1", _features(dims), dims.ae)
    yield from _dense("dense2", dims.ae, dims.side**2 * width)
    if "t" not in dims.letters:
        yield from _conv("upscale1/conv1", 3, width, 4 * width)


def _decoder(dims: Dims, code: int) -> Iterator[tuple[str, Shape]]:
    factors = (8, 8, 4, 2) if "t" in dims.letters else (8, 4, 2)
    widths = [code, *(factor * dims.d for factor in factors)]
    masks = [code, *(factor * dims.mask for factor in factors)]
    levels = range(len(factors))
    for level in levels:
        yield from _conv(f"upscale{level}/conv1", 3, widths[level], 4 * widths[level + 1])
    for level in levels:
        yield from _residual(f"res{level}", widths[level + 1])
    for level in levels:
        yield from _conv(f"upscalem{level}/conv1", 3, masks[level], 4 * masks[level + 1])
    yield from _conv("out_conv", 1, widths[-1], 3)
    if "d" in dims.letters:
        for number in (1, 2, 3):
            yield from _conv(f"out_conv{number}", 3, widths[-1], 3)
        yield from _conv(f"upscalem{len(factors)}/conv1", 3, masks[-1], 4 * dims.mask)
        masks.append(dims.mask)
    yield from _conv("out_convm", 1, masks[-1], 1)
