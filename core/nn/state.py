"""Saved states by name, compared strictly; free of TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.errors import CheckpointError

STEPS = "steps"  # the optimizer's update counter among its slots
SHOWN, LONGEST_NAME = 5, 200  # names per fault, characters per name


def check_state(found: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Check that a saved state has exactly the wanted names and shapes.

    Args:
        found: Arrays by path.
        shapes: The wanted shapes by path.
        what: Names the state in the message.

    Raises:
        CheckpointError: Paths are missing, left over or misshapen; the message lists them.
    """
    misshapen = [
        f"{path} {tuple(found[path].shape)} instead of {tuple(shape)}"
        for path, shape in shapes.items()
        if path in found and tuple(found[path].shape) != tuple(shape)
    ]
    faults = {
        "missing": sorted(set(shapes) - set(found)),
        "left over": sorted(set(found) - set(shapes)),
        "misshapen": misshapen,
    }
    text = "; ".join(f"{label}: {_listed(names)}" for label, names in faults.items() if names)
    if text:
        raise CheckpointError(f"{what} does not fit the model; {text}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(_on_one_line, names[:SHOWN])) + more


def _on_one_line(name: str) -> str:
    """A name as a message can show it; that of a damaged file may be anything."""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return short if short.isprintable() else ascii(short)
