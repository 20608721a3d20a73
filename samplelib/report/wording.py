"""Numbers and directions in plain words, true at the ends of their ranges, too."""

from __future__ import annotations

import math
import unicodedata

STRAIGHT = 5.0  # degrees up to which a face looks straight ahead


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 face`, `12,000 faces`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(part: int, whole: int) -> str:
    """A share that says 0 % only of none and 100 % only of all."""
    if not whole:
        return "0 %"
    share = 100 * part / whole
    if part > 0 and share < 1:
        return "under 1 %"
    if part < whole and share > 99:
        return "over 99 %"
    return f"{share:.0f} %"


def direction(yaw: float, pitch: float) -> str:
    """Where a face looks, its angles in degrees: positive to the viewer's left and up."""
    parts = []
    if abs(yaw) > STRAIGHT:
        parts.append(f"about {abs(yaw):.0f}° to the viewer's {'left' if yaw > 0 else 'right'}")
    if abs(pitch) > STRAIGHT:
        parts.append(f"about {abs(pitch):.0f}° {'up' if pitch > 0 else 'down'}")
    return " and ".join(parts) or "straight ahead"


def number(value: float, digits: int = 0) -> str:
    """A number, or `unknown`."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "unknown"


def printable(text: str) -> str:
    """A name as it can be shown: control signs, broken bytes and what turns the writing round are escaped."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    hidden = ("Cc", "Cf", "Zl", "Zp")
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in hidden else sign
        for sign in shown
    )
