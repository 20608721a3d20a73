"""The batches of a training: all persons' samples of an iteration, a pure function of seed and iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from core.errors import SampleError

if TYPE_CHECKING:
    from models.base import Batch, Model
    from samplelib import Faceset

SIDES = ("src", "dst")
RESEED_STEP = 7919  # between the sample seeds of a training and of its continuation after a rollback
SUBSTITUTE = 1 << 32  # further on in the batches' numbers is the one that takes the place of a spoiled one
SUBSTITUTES = 3


class Batches:
    """Loads what each iteration of `model` asks for.

    The batch of the next iteration is put together and sent to the device while the step of this one runs.
    """

    def __init__(
        self,
        model: Model,
        facesets: Mapping[str, Faceset],
        attempt: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        """Set up the loaders; work begins with the first batch.

        Args:
            model: Whose requests to fill.
            facesets: Of each of the model's sides. Where sides share one set (pretraining), no colours are
                transferred; else those of a side's samples come from the next side's set.
            attempt: Rollbacks so far. Each draws other samples, so a collapse is not repeated to the letter.
            say: Told of batches that had to be replaced.
        """
        from samplelib import BatchLoader

        seed = model.options.seed + RESEED_STEP * attempt
        self.resolution = model.resolution
        self._model: Model | None = model
        self._say = say
        self._loaders = {}
        for number, side in enumerate(model.sides):
            lender = facesets[model.sides[(number + 1) % len(model.sides)]]
            self._loaders[side] = BatchLoader(
                facesets[side],
                model.sample_request(side),
                seed,
                number,
                reference=None if lender is facesets[side] else lender,
            )
        self._pool = ThreadPoolExecutor(1, "next batch")
        self._ahead: dict[int, Future[Batch]] = {}
        self._told: set[int] = set()

    def take(self, iteration: int) -> Batch:
        """What the step that follows `iteration` finished ones takes, as `Model.place` hands it over."""
        numbers = [self._model.batch_for(iteration + ahead)[0] for ahead in (0, 1)]
        for number in [number for number in self._ahead if number not in numbers]:
            self._ahead.pop(number).cancel()
        for number in numbers:
            if number not in self._ahead:
                self._ahead[number] = self._pool.submit(self._placed, number)
        return self._ahead[numbers[0]].result()

    def _placed(self, number: int) -> Batch:
        return self._model.place(self.by_number(number))

    def get(self, iteration: int) -> dict[str, np.ndarray]:
        """All sides' arrays of the batch of that iteration."""
        return self.by_number(self._model.batch_for(iteration)[0])

    def by_number(self, number: int) -> dict[str, np.ndarray]:
        """All sides' arrays of the batch of that number; of a later one where it holds what is no number.

        Raises:
            SampleError: Those that take its place do, too.
        """
        for substitute in range(SUBSTITUTES + 1):
            batch: dict[str, np.ndarray] = {}
            for loader in self._loaders.values():
                batch.update(loader.get(number + substitute * SUBSTITUTE))
            spoiled = [name for name, array in batch.items() if not np.isfinite(array.sum())]
            if not spoiled:
                return batch
            if number not in self._told:
                self._told.add(number)
                self._say(
                    f"/!\\ Batch {number}: {', '.join(spoiled)} hold values that are not numbers; "
                    "another batch takes its place."
                )
        raise SampleError(
            f"batch {number} and those in its place hold values that are not numbers ({', '.join(spoiled)}); "
            "look for damaged faces with the report of util"
        )

    def close(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._pool.shutdown(wait=True)
        self._ahead.clear()
        for loader in self._loaders.values():
            loader.close()
        self._loaders, self._model = {}, None  # the model may have to make room
