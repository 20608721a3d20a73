"""Options of Original, whose networks (64 pixels, full face) are fixed."""

from __future__ import annotations

from dataclasses import dataclass

from core.options import opt
from models.base import ModelOptions


@dataclass(frozen=True, kw_only=True)
class OriginalOptions(ModelOptions):
    """What a run of Original is asked."""

    batch_size: int = opt(16, "Faces of each person per iteration.", low=1, high=1024)
