"""Options of Quick96."""

from __future__ import annotations

from dataclasses import dataclass

from core.options import opt
from models.base import ModelOptions
from models.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Quick96Options(ModelOptions):
    """What a Quick96 run is asked; its networks are fixed."""

    recipe: str = opt(
        "fast",
        "How to train: fast is our schedule, sharp sooner; dfl is DeepFaceLab's. The files are the same.",
        choices=tuple(RECIPES),
    )
