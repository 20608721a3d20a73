"""The batches of a training: both persons' samples of an iteration, a pure function of seed and iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.base import Model
    from samplelib import Faceset

SIDES = ("src", "dst")
RESEED_STEP = 7919  # between the sample seeds of a training and of its continuation after a rollback


class Batches:
    """Loads what each iteration of `model` asks for."""

    def __init__(self, model: Model, facesets: dict[str, Faceset], attempt: int = 0) -> None:
        """Set up the loaders; work begins with the first `get`.

        Args:
            facesets: Of `src` and `dst`.
            attempt: Rollbacks so far. Each draws other samples, so a collapse is not repeated to the letter.
        """
        from samplelib import BatchLoader

        seed = model.options.seed + RESEED_STEP * attempt
        self._model = model
        self._loaders = {
            side: BatchLoader(
                facesets[side],
                model.sample_request(side),
                seed,
                number,
                reference=facesets[SIDES[1 - number]],
            )
            for number, side in enumerate(SIDES)
        }

    def get(self, iteration: int) -> dict[str, np.ndarray]:
        """Both sides' arrays for the step that follows `iteration` finished ones."""
        number, _ = self._model.batch_for(iteration)
        return self.by_number(number)

    def by_number(self, number: int) -> dict[str, np.ndarray]:
        """Both sides' arrays of the batch of that number."""
        batch: dict[str, np.ndarray] = {}
        for loader in self._loaders.values():
            batch.update(loader.get(number))
        return batch

    def close(self) -> None:
        for loader in self._loaders.values():
            loader.close()
