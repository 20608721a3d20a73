"""What an extraction came to, in lines for the user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN_RANGES = 40  # of frame names in a list of the summary


@dataclass
class Report:
    """What an extraction came to, earlier runs included."""

    skipped: dict[str, str] = field(default_factory=dict)  # frames that were not tried, and why
    failed: dict[str, str] = field(default_factory=dict)  # frames that could not be read, and why
    faces: dict[str, int] = field(default_factory=dict)  # number of faces of each finished frame
    notes: list[str] = field(default_factory=list)  # lines of the summary: tracks, persons

    def finished(self, name: str, faces: int) -> None:
        """Count a frame that is done."""
        self.faces[name] = faces
        self.failed.pop(name, None)

    def show(self, order: list[str]) -> None:
        """Print the summary.

        Args:
            order: Names of all frames.
        """
        without = [number for number, name in enumerate(order) if self.faces.get(name) == 0]
        several = [number for number, name in enumerate(order) if self.faces.get(name, 0) > 1]
        print("-------------------------")
        print(f"Images found:      {len(order)}")
        print(f"Faces detected:    {sum(self.faces.values())}")
        print(f"Without a face:    {ranges_text(without, order)}")
        print(f"With several:      {ranges_text(several, order)}")
        for note in self.notes:
            print(note)
        print("-------------------------")
        for name, reason in (self.skipped | self.failed).items():
            print(f"skipped {name}: {reason.rpartition(f'{name}: ')[2]}")  # most begin with the file's path


def ranges_text(numbers: Iterable[int], names: list[str]) -> str:
    """`3 (00012.png-00013.png, 00040.png)` for a sorted list of positions in `names`."""
    numbers = list(numbers)
    if not numbers:
        return "0"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [names[a] if a == b else f"{names[a]}-{names[b]}" for a, b in ranges[:SHOWN_RANGES]]
    more = f", and {len(ranges) - SHOWN_RANGES} more ranges" if len(ranges) > SHOWN_RANGES else ""
    return f"{len(numbers)} ({', '.join(shown)}{more})"
