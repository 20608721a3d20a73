"""Facesets and the endless batches of augmented samples drawn from them; imports no TensorFlow."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AugmentOptions": "request",
    "BatchLoader": "loader",
    "FaceSample": "faceset",
    "Faceset": "faceset",
    "SampleRequest": "request",
    "SampleSpec": "request",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:  # OpenCV is loaded only when something is used
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
