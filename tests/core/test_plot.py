"""The loss graph and the preview picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.imagelib.plot import compose_preview, draw_loss_graph, draw_text_rows, loss_color


def column_of(graph: np.ndarray, x: int, color: tuple) -> np.ndarray:
    """Heights above the bottom at which column x has the colour."""
    return graph.shape[0] - 1 - np.flatnonzero((graph[:, x] == np.float32(color)).all(axis=-1))


def test_bars_reach_from_the_smallest_to_the_largest_of_their_iterations():
    history = np.full((1000, 1), 1.0, np.float32)
    history[500:505] = [[0.5], [1.0], [1.5], [1.0], [1.0]]
    graph = draw_loss_graph(history, 1000, width=200, height=101)
    full = 2 * history[200:].mean()
    bar = column_of(graph, 100, loss_color(0, 2))
    assert abs(bar.max() - 100 * 1.5 / full) <= 1 and abs(bar.min() - 100 * 0.5 / full) <= 1
    assert len(column_of(graph, 180, loss_color(0, 2))) == 1


def test_a_short_history_fills_the_width():
    graph = draw_loss_graph(np.array([[1.0, 2.0], [3.0, 1.0]]), 2, width=90)
    assert graph.shape == (100, 90, 3) and graph.dtype == np.float32
    assert len(column_of(graph, 0, loss_color(1, 2))) and len(column_of(graph, 89, loss_color(1, 2)))


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 300), st.integers(1, 3)), elements=st.floats(width=32)),
    st.integers(1, 120),
    st.sampled_from(["dfl", "log"]),
)
def test_any_history_gives_a_picture_in_range(history, width, scale):
    graph = draw_loss_graph(history, len(history), width, scale=scale)
    assert graph.shape == (100, width, 3)
    assert np.isfinite(graph).all() and graph.min() >= 0 and graph.max() <= 1


@pytest.mark.parametrize("height, expected", [(96, 96), (2400, 800)])
def test_the_preview_is_below_the_graph_and_at_most_800_high(height, expected):
    preview = np.full((height, 480, 3), 0.25, np.float32)
    picture = compose_preview(preview, np.ones((10, 2)), 10, ["[Enter]: save and quit"])
    assert picture.shape[0] == 15 + 100 + expected
    np.testing.assert_allclose(picture[115:], 0.25, atol=1e-6)


def test_a_preview_of_a_broken_model_can_be_drawn():
    preview = np.full((96, 96, 3), np.nan, np.float32)
    assert np.isfinite(compose_preview(preview, np.full((4, 2), np.nan), 4)).all()


def test_text_rows_are_not_empty():
    rows = draw_text_rows(["one", "two"], 200)
    assert rows.shape == (30, 200, 3) and rows[:15].max() > 0.5 and rows[15:].max() > 0.5
