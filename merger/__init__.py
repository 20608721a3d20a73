"""A frame, its faces and a predictor: the merged frame. Names load on first use, and with them OpenCV."""

from __future__ import annotations

import importlib

_HOMES = {
    "MergeOptions": "merger.options",
    "crop_face": "merger.merge_face",
    "merge_frame": "merger.merge_face",
    "merge_all": "merger.pool",
    "MergeSession": "merger.session",
    "match_faces": "merger.frames",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
