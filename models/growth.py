"""Faces that grow while a model learns: from a low resolution, where an iteration costs little, to the last.

Convolutions keep their weights: a network for larger faces is the same one over larger maps. Only SAEHD's two
dense layers know the size of the map. `inter/dense1` reads all of its pixels, `inter/dense2` paints all of
those of the code, so their weights are pictures themselves, one for each channel and number of the
bottleneck, and are resized as such (Karras et al., "Progressive growing of GANs", ICLR 2018, grow by layers
instead; here the layers are there from the beginning).

Everything is a pure function of options and iteration, and free of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.nn.archi_names import split_archi

READER, PAINTER = "dense1", "dense2"  # DFL's names of the dense layers


def stages(grow_from: int, resolution: int) -> tuple[int, ...]:
    """The resolutions from the first, doubled again and again, to the last; one without growth (0)."""
    if not grow_from:
        return (resolution,)
    found = [grow_from]
    while 2 * found[-1] < resolution:
        found.append(2 * found[-1])
    return (*found, resolution)


def resolution_at(options: Mapping[str, Any], iteration: int) -> int:
    """The resolution after so many iterations, by saved options."""
    grows = stages(options.get("grow_from", 0), options["resolution"])
    return grows[min(iteration // options.get("grow_iters", 1), len(grows) - 1)]


@dataclass(frozen=True)
class Grid:
    """The sides of the maps that the dense layers read and paint, at one resolution."""

    read: int
    painted: int

    @classmethod
    def of(cls, archi: str, resolution: int) -> Grid:
        _, letters = split_archi(archi)
        return cls(resolution // (32 if "t" in letters else 16), resolution // (32 if "d" in letters else 16))


def grown_weights(weights: Mapping[str, np.ndarray], old: Grid, new: Grid) -> dict[str, np.ndarray]:
    """Weights by path for another resolution, so that like faces give like codes.

    A sum over more pixels takes smaller weights, in proportion; what is painted keeps its values.
    """
    share = (old.read / new.read) ** 2
    return {path: _grown(path, array, old, new, share, 1.0) for path, array in weights.items()}


def grown_slots(slots: Mapping[str, np.ndarray], old: Grid, new: Grid) -> dict[str, np.ndarray]:
    """An optimizer's slots by `<slot>/<path>`, for gradients as they will be.

    The gradient to a weight that reads one pixel stays as it was; that to one that paints a pixel, of which
    there are more in the mean that the loss is, gets smaller in proportion.
    """
    share = (old.painted / new.painted) ** 2
    found = {}
    for key, array in slots.items():
        slot, _, path = key.partition("/")
        power = 1 if slot == "m" else 2  # means of gradients, or of their squares
        found[key] = _grown(path, array, old, new, 1.0, share**power)
    return found


def _grown(path: str, array: np.ndarray, old: Grid, new: Grid, reading: float, painting: float) -> np.ndarray:
    part, _, rest = path.partition("/")
    layer, _, name = rest.partition("/")
    if not part.startswith("inter") or layer not in (READER, PAINTER):
        return array
    if layer == PAINTER:
        return _resized(array, array.ndim - 1, old.painted, new.painted, painting)
    return _resized(array, 0, old.read, new.read, reading) if name == "weight" else array


def _resized(array: np.ndarray, axis: int, old: int, new: int, factor: float) -> np.ndarray:
    """`array` with an axis of channels times old x old pixels made one of channels times new x new."""
    spread = _bilinear(old, new)
    planes = np.moveaxis(array, axis, 0).astype(np.float64)
    rest = planes.shape[1:]
    planes = planes.reshape(-1, old, old, int(np.prod(rest, dtype=np.int64)))
    planes = np.einsum("ap,bq,cpqr->cabr", spread, spread, planes, optimize=True) * factor
    planes = planes.reshape(-1, *rest).astype(array.dtype)
    return np.ascontiguousarray(np.moveaxis(planes, 0, axis))


def _bilinear(old: int, new: int) -> np.ndarray:
    """(new, old) weights of linear interpolation between pixels' centres; rows sum to 1."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(np.clip(places, 0, old - 1)[:, None] - np.arange(old))
    return np.maximum(0.0, 1.0 - distance)
