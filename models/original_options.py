"""Options of Original, whose networks (64 pixels, full face) are fixed."""

from __future__ import annotations

from dataclasses import dataclass

from core.options import as_in
from models.base import ModelOptions


@dataclass(frozen=True, kw_only=True)
class OriginalOptions(ModelOptions):
    """What a run of Original is asked."""

    batch_size: int = as_in(ModelOptions, "batch_size", default=16)
