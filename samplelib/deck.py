"""Order of samples: every epoch is a freshly shuffled deck, dealt without replacement."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

_KEPT_DECKS = 4
_DECK_STREAM = 0xDEC4  # keeps the shuffles' generators apart from those of the samples


def deal(seed: int, side: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64: a permutation of 0..count-1 that depends on nothing but the arguments."""
    rng = np.random.default_rng([seed, side, epoch, _DECK_STREAM])
    return rng.permutation(count)


class Deck:
    """Card at any position of the endless sequence of epochs; remembers the few decks in use."""

    def __init__(self, seed: int, side: int, count: int) -> None:
        self.seed, self.side, self.count = seed, side, count
        self._decks: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def card(self, position: int, skip: int = 0) -> int:
        """The sample at `position`; `skip` looks that much further on in the same epoch, round its end."""
        epoch, place = divmod(position, self.count)
        with self._lock:
            deck = self._decks.get(epoch)
            if deck is None:
                deck = self._decks[epoch] = deal(self.seed, self.side, epoch, self.count)
                while len(self._decks) > _KEPT_DECKS:
                    self._decks.popitem(last=False)
        return int(deck[(place + skip) % self.count])


class BatchStarts:
    """Position of a batch's first card when the batches' sizes vary."""

    def __init__(self, size_of: Callable[[int], int], constant: int | None) -> None:
        self._size_of, self._constant = size_of, constant
        self._starts = [0]
        self._lock = threading.Lock()

    def start(self, index: int) -> int:
        """Sum of the sizes of all earlier batches."""
        if self._constant is not None:
            return index * self._constant
        with self._lock:
            while len(self._starts) <= index:
                last = len(self._starts) - 1
                self._starts.append(self._starts[last] + self._size_of(last))
            return self._starts[index]
