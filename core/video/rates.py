"""Frame rates as people write them."""

from __future__ import annotations

from fractions import Fraction

from core.errors import UsageError

MAX_RATE = 1000
# What people round: 29.97 is 30000/1001.
ROUNDED = {Fraction(text): Fraction(round(float(text)) * 1000, 1001)
           for text in ("23.976", "23.98", "29.97", "47.952", "47.95", "59.94", "119.88")}  # fmt: skip


def parse_rate(text: str) -> Fraction:
    """Read `25`, `29.97` or `30000/1001`; 0 is allowed and means "as the video has it".

    Raises:
        UsageError: It is no number, or outside 0..1000.
    """
    try:
        rate = Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{text!r} is not a frame rate; give for example 25, 29.97 or 30000/1001") from None
    if not 0 <= rate <= MAX_RATE:
        raise UsageError(f"the frame rate {text} is outside 0..{MAX_RATE}")
    return ROUNDED.get(rate, rate)


def rate_text(rate: Fraction) -> str:
    """`25`, or `30000/1001 (29.970)` where the rate is no whole number."""
    return str(rate) if rate.denominator == 1 else f"{rate} ({float(rate):.3f})"
