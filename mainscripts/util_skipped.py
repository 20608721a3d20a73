"""What the tools for facesets say about files that they left alone."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN = 20  # lines


def show_left_alone(reasons: Mapping[str, str], what: str) -> None:
    """List files and reasons, after a line that counts them."""
    if not reasons:
        return
    print(f"{len(reasons)} {what}:")
    for name, reason in list(reasons.items())[:SHOWN]:
        reason = reason.removeprefix(f"{name}: ")
        print(f"  {printable(name)}: {printable(reason)}")
    if len(reasons) > SHOWN:
        print(f"  and {len(reasons) - SHOWN} more")


def printable(text: str) -> str:
    """A name whose bytes are not text shows them escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
