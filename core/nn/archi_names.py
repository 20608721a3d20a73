"""Names of architectures, such as `liae-ud`. No TensorFlow: prompts need this."""

from __future__ import annotations

from core.errors import UsageError


def split_archi(text: str) -> tuple[str, frozenset[str]]:
    """Family (`df` or `liae`) and letters of an architecture's name.

    Raises:
        UsageError: It is none.
    """
    family, hyphen, letters = text.strip().lower().partition("-")
    distinct = frozenset(letters)
    right = family in ("df", "liae") and bool(hyphen) == bool(letters)
    if not right or not distinct <= set("udtc") or len(distinct) != len(letters):
        raise UsageError(
            f"{text!r} is no architecture; give df or liae, then optionally - and letters of u, d, t, c"
        )
    return family, distinct


def resolution_step(letters: frozenset[str]) -> int:
    """What the resolution must be a multiple of: d and t each halve the face once more."""
    return 32 if letters & {"d", "t"} else 16
