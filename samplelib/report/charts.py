"""The report's pictures as SVG: bars and maps of poses. Each says in words what it shows."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from samplelib.report.coverage import COVERED, MISSING, NONE, THIN, PoseCoverage
from samplelib.report.statistics import CELL, CELLS
from samplelib.report.wording import counted, direction, percent

WIDTH, HEIGHT = 420, 150  # of a bar chart
SIDE = 40  # of a cell
LEAST_CELL, MARGIN = 4, 1  # cells beyond straight ahead that a map shows at least, and beyond the faces
LEFT, TOP = 112, 24  # of a map, for its labels
STATE_WORDS = {
    MISSING: "missing",
    THIN: "in part, or few",
    COVERED: "covered",
    NONE: "not in the destination",
}


def bars(
    counts: Sequence[np.ndarray], edges: Sequence[float], names: Sequence[str], label: str, unit: str = ""
) -> str:
    """A histogram of one set, or of two over each other in shares of their faces.

    Args:
        counts: One or two (B,) arrays.
        edges: B + 1 numbers.
        names: Of the sets.
        label: What is counted, for those who do not see it.
        unit: Of the edges.
    """
    totals = [max(1, int(part.sum())) for part in counts]
    highest = max(
        (float(part.max()) / total for part, total in zip(counts, totals) if len(part)), default=0.0
    )
    step = WIDTH / max(1, len(edges) - 1)
    body = []
    for kind, (part, total, name) in enumerate(zip(counts, totals, names)):
        for place, value in enumerate(part.tolist()):
            if not value:
                continue
            tall = HEIGHT * value / total / max(highest, 1e-9)
            told = (
                f"{name}: {_edge(edges[place])} to {_edge(edges[place + 1])}{unit}: {counted(value, 'face')}"
            )
            width = step - 1 if kind == 0 else step * 0.45
            left = step * place + (0 if kind == 0 else step * 0.27)
            body.append(
                f'<rect class="bar{kind}" x="{left:.1f}" y="{HEIGHT - tall:.1f}" width="{width:.1f}" '
                f'height="{max(tall, 1):.1f}"><title>{_text(told)}</title></rect>'
            )
    ticks = np.linspace(0, len(edges) - 1, 5).round().astype(int)
    for place in dict.fromkeys(ticks.tolist()):
        anchor = "start" if place == 0 else "end" if place == len(edges) - 1 else "middle"
        text = f"{_edge(edges[place])}{unit}"
        body.append(f'<text x="{step * place:.1f}" y="{HEIGHT + 15}" text-anchor="{anchor}">{text}</text>')
    body.append(f'<line class="axis" x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/>')
    return _svg(WIDTH, HEIGHT + 20, label, body)


def pose_map(counts: np.ndarray, label: str) -> str:
    """How many faces look where; (CELLS, CELLS) counts by pitch and yaw."""
    low, high = _extent(counts > 0)
    most = max(1, int(counts.max()))
    cells = []
    for pitch, yaw in _cells(low, high):
        value = int(counts[pitch, yaw])
        x, y = _place(pitch, yaw, high)
        if not value:
            cells.append(f'<rect class="empty" x="{x}" y="{y}" width="{SIDE - 2}" height="{SIDE - 2}"/>')
            continue
        depth = 0.12 + 0.88 * np.log1p(value) / np.log1p(most)
        told = f"{direction(*_angles(pitch, yaw))}: {counted(value, 'face')}"
        ink = "light" if depth > 0.55 else "dark"
        cells.append(
            f'<g><title>{_text(told)}</title><rect class="full" x="{x}" y="{y}" width="{SIDE - 2}" '
            f'height="{SIDE - 2}" fill-opacity="{depth:.2f}"/><text class="{ink}" x="{x + SIDE / 2 - 1}" '
            f'y="{y + SIDE / 2 + 3}" text-anchor="middle">{_short(value)}</text></g>'
        )
    return _map(low, high, label, cells)


def coverage_map(poses: PoseCoverage, label: str) -> str:
    """The destination's poses, each marked by whether the source has it."""
    low, high = _extent((poses.dst > 0) | (poses.src > 0))
    cells = []
    for pitch, yaw in _cells(low, high):
        dst, src, state = (int(part[pitch, yaw]) for part in (poses.dst, poses.src, poses.states))
        x, y = _place(pitch, yaw, high)
        faces = f"{counted(dst, 'destination face')}, {counted(src, 'source face')}"
        told = f"{direction(*_angles(pitch, yaw))}: {faces}; {STATE_WORDS[state]}"
        kind = {MISSING: "missing", THIN: "thin", COVERED: "covered", NONE: "spare" if src else "empty"}[
            state
        ]
        inside = [f'<rect class="{kind}" x="{x}" y="{y}" width="{SIDE - 2}" height="{SIDE - 2}"/>']
        middle = x + SIDE / 2 - 1
        if dst:
            mark = {MISSING: "✕ ", THIN: "! ", COVERED: ""}[state]
            inside.append(
                f'<text class="on-{kind}" x="{middle}" y="{y + 17}" text-anchor="middle">'
                f"{mark}{_short(dst)}</text>"
            )
        if dst or src:
            inside.append(
                f'<text class="on-{kind} small" x="{middle}" y="{y + 31}" text-anchor="middle">'
                f"{_short(src)}</text>"
            )
        cells.append(f"<g><title>{_text(told)}</title>{''.join(inside)}</g>")
    return _map(low, high, label, cells)


def describe_poses(yaw: np.ndarray, pitch: np.ndarray, counts: np.ndarray) -> str:
    """The map in words: how far the faces turn, and its fullest cell."""
    if not len(yaw):
        return "No faces."
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    most = percent(int(counts[row, column]), len(yaw))
    return (
        f"{counted(len(yaw), 'face')}: yaw from {_signed(yaw.min())} to {_signed(yaw.max())}, pitch from "
        f"{_signed(pitch.min())} to {_signed(pitch.max())}. The fullest cell ({most} of the faces) looks "
        f"{direction(*_angles(row, column))}."
    )


def _angles(pitch: int, yaw: int) -> tuple[float, float]:
    return CELL * yaw - 90, CELL * pitch - 90


def _extent(used: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and highest cells of pitch and yaw that a map shows."""
    middle = CELLS // 2
    rows, columns = np.nonzero(used)
    spans = []
    for places in (rows, columns):
        near, far = (places.min(), places.max()) if len(places) else (middle, middle)
        spans.append(
            (
                max(0, min(int(near) - MARGIN, middle - LEAST_CELL)),
                min(CELLS - 1, max(int(far) + MARGIN, middle + LEAST_CELL)),
            )
        )
    (low_pitch, high_pitch), (low_yaw, high_yaw) = spans
    return (low_pitch, low_yaw), (high_pitch, high_yaw)


def _cells(low: tuple[int, int], high: tuple[int, int]) -> list[tuple[int, int]]:
    return [
        (pitch, yaw) for pitch in range(high[0], low[0] - 1, -1) for yaw in range(high[1], low[1] - 1, -1)
    ]


def _place(pitch: int, yaw: int, high: tuple[int, int]) -> tuple[int, int]:
    """Up is at the top; the viewer's left, where yaw is positive, at the left."""
    return LEFT + SIDE * (high[1] - yaw), TOP + SIDE * (high[0] - pitch)


def _map(low: tuple[int, int], high: tuple[int, int], label: str, cells: list[str]) -> str:
    width = LEFT + SIDE * (high[1] - low[1] + 1)
    height = TOP + SIDE * (high[0] - low[0] + 1)
    body = list(cells)
    for yaw in range(low[1], high[1] + 1):
        x = _place(low[0], yaw, high)[0] + SIDE / 2 - 1
        body.append(f'<text x="{x}" y="{height + 12}" text-anchor="middle">{_signed(CELL * yaw - 90)}</text>')
    for pitch in range(low[0], high[0] + 1):
        y = _place(pitch, low[1], high)[1] + SIDE / 2 + 3
        body.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end">{_signed(CELL * pitch - 90)}</text>')
    body += [
        f'<text class="side" x="{LEFT}" y="{height + 28}">← to the viewer\'s left (yaw +)</text>',
        f'<text class="side" x="{width}" y="{height + 43}" text-anchor="end">'
        "to the viewer's right (yaw −) →</text>",
        f'<text class="side" x="0" y="{TOP - 8}">↑ up (pitch +)</text>',
        f'<text class="side" x="0" y="{height + 12}">↓ down (pitch −)</text>',
    ]
    return _svg(width + 4, height + 48, label, body)


def _svg(width: float, height: float, label: str, body: Sequence[str]) -> str:
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{"".join(body)}</svg>'
    )


def _text(words: str) -> str:
    return html.escape(words, quote=False)


def _signed(degrees: float) -> str:
    return f"{degrees:+.0f}°" if round(degrees) else "0°"


def _edge(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else "0"


def _short(value: int) -> str:
    """A count in four signs."""
    if value < 10_000:
        return str(value)
    return f"{value / 1000:.0f}k" if value < 1_000_000 else f"{value / 1e6:.0f}M"
