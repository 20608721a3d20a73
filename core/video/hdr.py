"""What a video says of the screen its colours were mastered on (SMPTE ST 2086, CTA-861.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

# Units in which x264 and x265 take chromaticities and luminances
CHROMATICITY = 50_000
LUMINANCE = 10_000
MASTERING = struct.Struct("<22i")  # AVMasteringDisplayMetadata: ten fractions, then which of them are set


@dataclass(frozen=True)
class MasteringDisplay:
    """As encoders take it; each None where the video does not say.

    `display` are x and y of green, blue, red and white, then the highest and the lowest luminance, in the
    units above. `light` are MaxCLL and MaxFALL in candela per square metre.
    """

    display: tuple[int, ...] | None = None
    light: tuple[int, int] | None = None

    def encoder_parameters(self) -> list[str]:
        """`master-display=...` and `max-cll=...` (x265; x264 calls the latter `cll`)."""
        parameters = []
        if self.display is not None:
            gx, gy, bx, by, rx, ry, wx, wy, high, low = self.display
            parameters.append(
                f"master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})"
            )
        if self.light is not None:
            parameters.append(f"max-cll={self.light[0]},{self.light[1]}")
        return parameters


def read_mastering(frame: Any) -> MasteringDisplay | None:
    """What the side data of a decoded frame (PyAV) say, None if nothing."""
    display = light = None
    for entry in frame.side_data:
        name, data = getattr(entry.type, "name", ""), bytes(entry)
        if name == "MASTERING_DISPLAY_METADATA" and len(data) >= MASTERING.size:
            display = _display(MASTERING.unpack_from(data))
        elif name == "CONTENT_LIGHT_LEVEL" and len(data) >= 8:
            light = struct.unpack_from("<2I", data)
    return MasteringDisplay(display, light) if display or light else None


def dynamic_metadata(frame: Any) -> str:
    """The kind of metadata that changes with the scene, which is lost on encoding; "" if there is none."""
    names = {getattr(entry.type, "name", "") for entry in frame.side_data}
    if names & {"DOVI_METADATA", "DOVI_RPU_BUFFER"}:
        return "Dolby Vision"
    return "HDR10+" if "DYNAMIC_HDR_PLUS" in names else ""


def _display(numbers: tuple[int, ...]) -> tuple[int, ...] | None:
    *fractions, has_primaries, has_luminance = numbers
    if not (has_primaries and has_luminance) or 0 in fractions[1::2]:
        return None
    values = [n / d for n, d in zip(fractions[::2], fractions[1::2])]
    red, green, blue, white, (low, high) = (values[i : i + 2] for i in range(0, 10, 2))
    points = [round(v * CHROMATICITY) for pair in (green, blue, red, white) for v in pair]
    return (*points, round(high * LUMINANCE), round(low * LUMINANCE))
