"""What two models hold, compared to the last bit."""

from __future__ import annotations

import numpy as np


def assert_same_state(found, wanted) -> None:
    """Losses, weights and optimizers of both models are the same, name by name."""
    np.testing.assert_array_equal(found.loss_history, wanted.loss_history)
    for ours, theirs in (
        (found.weights(), wanted.weights()),
        (found.optimizer_state(), wanted.optimizer_state()),
    ):
        assert ours.keys() == theirs.keys()
        for path in theirs:
            np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)
