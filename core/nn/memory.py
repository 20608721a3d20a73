"""How much memory a training step will need, told from the networks' shapes before the first step.

The numbers are sums over layers: what the optimizer holds, and what the forward pass must keep until the
backward pass has used it. The constants below were fitted to processes on a CPU: how much they grew in three
steps of AdaBelief on df-ud, df-udc, df-udt and liae-ud models of 96 to 192 pixels, 10 to 82 million weights,
batches of 2 to 16, bfloat16 and float32. Growth was 0.4 to 2.0 GB, the estimate 92 to 101 percent of it. The
program itself, some 0.9 GB with TensorFlow loaded, comes on top. GPUs were not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import keras

from core.nn.layers import COSINE, AddActivate, Conv, Dense, PixelNorm, Sigmoid

SINGLE = 4  # bytes of a float32
LOSS_COPIES = 20  # float32 images that the losses make of each output
ACTIVATIONS = 1.6  # memory to what layers must keep: the gradients of maps, scratch space, gaps
HELD = 1.1  # memory to what weights, slots and gradients take
FIXED = 100 * 2**20  # code compiled for the step, buffers of the kernels
CUT = 0.75  # what hints multiply a number of channels, or the resolution, by
# By the beginning of a part's name, of which the first one counts: the option that sets its width, and
# whether its weights grow with the square of that.
WIDTHS = (
    ("encoder", "e_dims", True),
    ("inter_src", "inter_dims", False),  # AMP's
    ("inter_dst", "inter_dims", False),
    ("inter", "ae_dims", False),
    ("decoder", "d_dims", True),
    ("D_src", "gan_dims", True),
    ("GAN", "gan_dims", True),
)


@dataclass(frozen=True)
class PartMemory:
    """One network's share, in bytes but for `parameters`."""

    parameters: int
    dense: int  # those of `parameters` in dense layers, whose number goes with the face's area
    weights: int  # float32, and their copies in the type that layers compute in
    slots: int
    gradients: int
    activations: int  # at the batch size, with what the losses need

    @property
    def held(self) -> int:
        """What does not depend on the batch size."""
        return self.weights + self.slots + self.gradients


@dataclass(frozen=True)
class MemoryEstimate:
    """What training needs beside the program itself, by network."""

    parts: Mapping[str, PartMemory]
    slot_count: int  # optimizer slots per weight
    half: bool  # whether layers compute in 16 bits

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts.values())

    @property
    def weights(self) -> int:
        return sum(part.weights for part in self.parts.values())

    @property
    def slots(self) -> int:
        return sum(part.slots for part in self.parts.values())

    @property
    def gradients(self) -> int:
        return sum(part.gradients for part in self.parts.values())

    @property
    def activations(self) -> int:
        return sum(part.activations for part in self.parts.values())

    @property
    def total(self) -> int:
        """Bytes, with everything that is not told apart."""
        return int(HELD * sum(part.held for part in self.parts.values())) + self.activations + FIXED

    def beside(self, name: str, kept: float) -> MemoryEstimate:
        """With a network that learns nothing and leaves `kept` bytes for the backward pass."""
        return replace(self, parts={**self.parts, name: PartMemory(0, 0, 0, 0, 0, int(ACTIVATIONS * kept))})

    def grown(self, factor: float) -> MemoryEstimate:
        """The same networks for faces of `factor` times the area: larger maps, larger dense layers."""
        parts = {}
        for name, part in self.parts.items():
            share = 1 + (factor - 1) * part.dense / max(1, part.parameters)
            parts[name] = PartMemory(
                parameters=round(part.parameters * share),
                dense=round(part.dense * factor),
                weights=round(part.weights * share),
                slots=round(part.slots * share),
                gradients=round(part.gradients * share),
                activations=round(part.activations * factor),
            )
        return replace(self, parts=parts)

    def describe(self) -> str:
        """One line: `38.3 million weights, about 0.9 GB of memory at this batch size (...)`."""
        shares = {
            "weights": self.weights,
            "optimizer": self.slots,
            "gradients": self.gradients,
            "activations": self.activations,
        }
        text = ", ".join(f"{_size(size)} {name}" for name, size in shares.items())
        return (
            f"{self.parameters / 1e6:.1f} million weights, about {_size(self.total)} of memory "
            f"at this batch size ({text})"
        )

    def hints(self) -> list[str]:
        """What to change to need less memory, the most effective first, each with what it spares."""
        spared = {"half the batch size": self.activations / 2}
        if not self.half:
            spared["computing in 16 bits"] = self.activations / 2
        if self.slot_count > 1:
            spared["RMSprop instead of AdaBelief"] = HELD * self.slots / self.slot_count
        dense = sum(HELD * part.held * part.dense / max(1, part.parameters) for part in self.parts.values())
        spared["a new model with a quarter less resolution"] = (1 - CUT**2) * (dense + self.activations)
        for option, share in self._by_option().items():
            spared[f"a new model with a quarter less {option}"] = share
        ranked = sorted(spared.items(), key=lambda item: -item[1])
        return [f"{text}: about {_size(size)} less" for text, size in ranked]

    def _by_option(self) -> dict[str, float]:
        """Bytes that a quarter less of each option of widths spares."""
        spared: dict[str, float] = {}
        for name, part in self.parts.items():
            for prefix, option, square in WIDTHS:
                if name.startswith(prefix):
                    less = HELD * part.held * (1 - CUT ** (2 if square else 1))
                    spared[option] = spared.get(option, 0.0) + less + (1 - CUT) * part.activations
                    break
        return spared


def estimate(
    parts: Mapping[str, keras.Model], passes: Mapping[str, float], slots: int, compute_bytes: int
) -> MemoryEstimate:
    """What a training step of these networks needs.

    Args:
        parts: The networks by name; only their shapes are read.
        passes: How many samples go through each network in a step and are kept for its gradients: twice the
            batch size for an encoder that both persons share. A network that is not named is not trained.
        slots: The optimizer's slots per weight.
        compute_bytes: Of a number in the type that layers compute in.
    """
    shares = {name: _part(part, passes.get(name, 0.0), slots, compute_bytes) for name, part in parts.items()}
    return MemoryEstimate(shares, slots, half=compute_bytes < SINGLE)


def _part(part: keras.Model, samples: float, slots: int, compute_bytes: int) -> PartMemory:
    count = sum(prod(weight.shape) for weight in part.weights)
    dense = sum(
        prod(weight.shape) for layer in part.layers if isinstance(layer, Dense) for weight in layer.weights
    )
    if not samples:
        return PartMemory(count, dense, count * SINGLE, 0, 0, 0)
    copies = 0 if compute_bytes == SINGLE else compute_bytes
    kept = sum(_kept_by(layer, compute_bytes) for layer in part.layers)
    return PartMemory(
        parameters=count,
        dense=dense,
        weights=count * (SINGLE + copies),
        slots=count * SINGLE * slots,
        gradients=count * compute_bytes,
        activations=int(ACTIVATIONS * samples * kept),
    )


def _kept_by(layer: keras.layers.Layer, compute_bytes: int) -> int:
    """Bytes per sample that a layer leaves behind until the backward pass is through with it."""
    size = prod(layer.output.shape[1:])
    if isinstance(layer, Sigmoid):
        return size * SINGLE * LOSS_COPIES
    if isinstance(layer, PixelNorm):
        return size * SINGLE
    if isinstance(layer, (AddActivate, Conv)):
        copies = 2 if layer.activation == COSINE else 1  # what goes into x cos x, too
        return (copies * size + _padded(layer)) * compute_bytes
    return size * compute_bytes


def _padded(layer: keras.layers.Layer) -> int:
    """Size of the copy with zeros around it that a strided convolution makes of its input."""
    if not isinstance(layer, Conv) or layer.stride == 1:
        return 0
    height, width, channels = layer.input.shape[1:]
    border = 2 * (layer.kernel // 2)
    return (height + border) * (width + border) * channels


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
