"""The box that names a model and its options, printed at the start and kept as `<model>_summary.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Rows = Sequence[tuple[str, str]]
LEAST_KEY = 17


def summary_box(sections: Sequence[tuple[str, Rows]]) -> str:
    """A box of `key: value` rows in titled sections, as DFL draws it.

    Args:
        sections: Title and rows of each; the first title is that of the box.
    """
    rows = [row for _, section in sections for row in section]
    key_width = max(LEAST_KEY, *(len(key) for key, _ in rows)) + 1
    value_width = max(len(value) for _, value in rows) + 1
    inner = max(key_width + value_width + 2, *(len(title) + 4 for title, _ in sections))
    lines = []
    for index, (title, section) in enumerate(sections):
        filler = "-" if index else "="
        lines.append(f"=={f' {title} '.center(inner, filler)}==")
        lines.append(f"=={' ' * inner}==")
        lines += [f"=={f'{key:>{key_width}}: {value}':<{inner}}==" for key, value in section]
        lines.append(f"=={' ' * inner}==")
    lines.append("=" * (inner + 4))
    return "\n".join(lines)


def summary_path(prefix: Path) -> Path:
    """`<model>_summary.txt`; another name for a model that DFL began, whose files stay as they are."""
    return prefix.with_name(f"{prefix.name}_summary{_apart(prefix)}.txt")


def pictures_path(prefix: Path) -> Path:
    """The folder of the preview history, `<model>_history`; again another one beside DFL's."""
    return prefix.with_name(f"{prefix.name}_history{_apart(prefix)}")


def _apart(prefix: Path) -> str:
    return "_facelab" if prefix.with_name(f"{prefix.name}_data.dat").is_file() else ""
