"""The loss graph and the preview picture: graph above faces, as users of DFL know it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

GRAPH_HEIGHT = 100
ROW_HEIGHT = 15  # of a line of text
BACKGROUND = 0.1
GRID_LINES = 6
GRID = 0.35
TEXT_COLOR = (0.8, 0.8, 0.8)
MAX_PREVIEW_HEIGHT = 800


def draw_loss_graph(
    history: np.ndarray, iteration: int, width: int, height: int = GRAPH_HEIGHT, scale: str = "dfl"
) -> np.ndarray:
    """Draw the losses of all iterations: per column a bar from the smallest to the largest it stands for.

    Args:
        history: (N, K) losses; NaN and infinities leave gaps.
        iteration: Written below the graph as `Iter: N`.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
        scale: `dfl` is linear with twice the mean of the last 80 % as full height; `log` is logarithmic
            between the smallest and the largest loss.

    Returns:
        (height, width, 3) float32 BGR in [0, 1].
    """
    graph = np.full((height, width, 3), BACKGROUND, np.float32)
    graph[[line * height // (GRID_LINES + 1) for line in range(1, GRID_LINES + 1)]] = GRID
    history = np.asarray(history, np.float32)
    if history.ndim == 2 and len(history):
        history = np.where(np.isfinite(history), history, np.nan)
        lows, highs = _column_ranges(history, width)
        lows, highs = _heights(lows, history, scale), _heights(highs, history, scale)
        rows = np.arange(height)[::-1, None] / max(1, height - 1)  # of the centre of a pixel, 0 at the bottom
        for index in range(history.shape[1]):
            half = 0.5 / max(1, height - 1)  # a constant loss is one pixel high
            bar = (rows >= lows[:, index] - half) & (rows <= highs[:, index] + half)
            graph[bar] = loss_color(index, history.shape[1])
    band = height - height // (GRID_LINES + 1)
    return write_text(graph, f"Iter: {iteration}", (2, band + (height - band) // 2 + 4))


def loss_color(index: int, count: int) -> tuple[float, float, float]:
    """BGR colour of one of `count` losses. DFL writes a hue's red, green, blue in this order: src is blue."""
    return colorsys.hsv_to_rgb(index / count, 1.0, 1.0)


def _column_ranges(history: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(width, K) smallest and largest of the iterations that each column stands for."""
    edges = np.arange(width + 1) * len(history) / width
    starts = np.minimum(np.floor(edges[:-1]).astype(np.intp), len(history) - 1)
    if len(history) <= width:  # several columns per iteration
        return history[starts], history[starts]
    with np.errstate(invalid="ignore"):
        return np.fmin.reduceat(history, starts), np.fmax.reduceat(history, starts)


def _heights(values: np.ndarray, history: np.ndarray, scale: str) -> np.ndarray:
    """Losses as parts of the graph's height, clipped to [0, 1]; NaN stays."""
    finite = history[np.isfinite(history)]
    if not len(finite):
        return values
    if scale == "log":
        positive = np.maximum(finite, 1e-6)
        low, high = np.log(positive.min()), np.log(positive.max())
        with np.errstate(invalid="ignore"):
            return np.clip((np.log(np.maximum(values, 1e-6)) - low) / max(1e-6, high - low), 0.0, 1.0)
    recent = history[len(history) // 5 :]
    recent = recent[np.isfinite(recent)]
    full = 2 * float(np.mean(recent if len(recent) else finite, dtype=np.float64))
    return np.clip(values.astype(np.float64) / max(full, 1e-6), 0.0, 1.0)


def write_text(image: np.ndarray, text: str, origin: tuple[int, int]) -> np.ndarray:
    """`image`, float32, with small text whose base line starts at `origin` (x, y); ASCII only."""
    ink = np.zeros(image.shape[:2], np.uint8)  # OpenCV 5 writes on 8-bit images only
    cv2.putText(ink, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, 255, 1, cv2.LINE_AA)
    alpha = ink[..., None] / np.float32(255)
    return image * (1 - alpha) + alpha * np.float32(TEXT_COLOR)


def draw_text_rows(lines: Sequence[str], width: int) -> np.ndarray:
    """Lines of text below each other, (15 per line, width, 3) float32 BGR."""
    rows = np.full((ROW_HEIGHT * len(lines), width, 3), BACKGROUND, np.float32)
    for index, line in enumerate(lines):
        rows = write_text(rows, line, (2, ROW_HEIGHT * (index + 1) - 4))
    return rows


def compose_preview(
    preview: np.ndarray,
    history: np.ndarray,
    iteration: int,
    lines: Sequence[str] = (),
    scale: str = "dfl",
) -> np.ndarray:
    """Text rows, loss graph and preview below each other.

    Args:
        preview: (H, W, 3) float BGR in [0, 1]; scaled down to 800 pixels of height.
        history: (N, K) losses.
        iteration: For the graph's caption.
        lines: Text above the graph.
        scale: Of the graph; see `draw_loss_graph`.

    Returns:
        (H', W', 3) float32 BGR in [0, 1].
    """
    height, width = preview.shape[:2]
    preview = np.clip(np.nan_to_num(preview.astype(np.float32)), 0.0, 1.0)
    if height > MAX_PREVIEW_HEIGHT:
        width = max(1, round(width * MAX_PREVIEW_HEIGHT / height))
        preview = cv2.resize(preview, (width, MAX_PREVIEW_HEIGHT), interpolation=cv2.INTER_AREA)
    parts = [draw_loss_graph(history, iteration, width, scale=scale), preview]
    if lines:
        parts.insert(0, draw_text_rows(lines, width))
    return np.concatenate(parts, axis=0)
