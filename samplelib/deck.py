"""Order of samples: every epoch is a freshly shuffled deck, dealt without replacement.

`Deck` deals all faces alike; `BinDeck` deals groups of them alike (directions of view, for `uniform_yaw`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

_KEPT_DECKS = 4
_KEPT_BIN_DECKS = 512  # a round visits every bin: up to 128 of them, twice where two threads work apart
_DECK_STREAM = 0xDEC4  # keeps the shuffles' generators apart from those of the samples


def deal(seed: int, side: int, epoch: int, count: int, *stream: int) -> np.ndarray:
    """(count,) int64: a permutation of 0..count-1 that depends on nothing but the arguments.

    `stream` are numbers that keep further series of shuffles apart from this one.
    """
    rng = np.random.default_rng([seed, side, epoch, _DECK_STREAM, *stream])
    return rng.permutation(count)


class Deck:
    """Card at any position of the endless sequence of epochs; remembers the few decks in use."""

    def __init__(self, seed: int, side: int, count: int) -> None:
        self.seed, self.side, self.count = seed, side, count
        self._decks = _KeptDecks(_KEPT_DECKS)

    def card(self, position: int, skip: int = 0) -> int:
        """The sample at `position`; `skip` looks that much further on in the same epoch, round its end."""
        epoch, place = divmod(position, self.count)
        deck = self._decks.get((epoch,), lambda: deal(self.seed, self.side, epoch, self.count))
        return int(deck[(place + skip) % self.count])


class BinDeck:
    """Deals bins of faces evenly: every round shows each bin once, and each bin goes through its faces.

    As in DFL: bins are drawn from a shuffled deck, then the face from a shuffled deck inside the bin. Since
    a round draws each bin once, the number of the round says how often a bin was drawn before: no position
    needs those before it.
    """

    def __init__(self, seed: int, side: int, bins: np.ndarray) -> None:
        """`bins`: (N,) int, the bin of each face; empty bins are no part of a round."""
        self.seed, self.side, self.count = seed, side, len(bins)
        self._faces = [np.flatnonzero(bins == number) for number in np.unique(bins)]
        self._decks = _KeptDecks(_KEPT_BIN_DECKS)

    def card(self, position: int, skip: int = 0) -> int:
        """The sample at `position`; `skip` looks further on in the bin, then in those after it."""
        turn, place = divmod(position, len(self._faces))
        order = self._decks.get((turn,), lambda: deal(self.seed, self.side, turn, len(self._faces), 0))
        skip %= self.count
        for number in np.roll(order, -place):
            faces = self._faces[number]
            if skip < len(faces):
                return self._card_of(int(number), faces, turn, skip)
            skip -= len(faces)
        raise AssertionError("the bins hold fewer faces than there are")

    def _card_of(self, number: int, faces: np.ndarray, turn: int, skip: int) -> int:
        epoch, place = divmod(turn, len(faces))
        deck = self._decks.get(
            (number, epoch), lambda: deal(self.seed, self.side, epoch, len(faces), 1, number)
        )
        return int(faces[deck[(place + skip) % len(faces)]])


class _KeptDecks:
    """The shuffles used last, by any key; safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._decks: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, ...], shuffle: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            deck = self._decks.get(key)
            if deck is None:
                deck = self._decks[key] = shuffle()
                while len(self._decks) > self._limit:
                    self._decks.popitem(last=False)
        return deck


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
