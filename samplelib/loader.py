"""Batches of augmented samples, prepared ahead by threads, each a pure function of its index.

OpenCV releases Python's lock, so threads are enough; nothing is copied between processes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from core.errors import SampleError
from core.system import cpu_count, total_memory
from samplelib.deck import BatchStarts, BinDeck, Deck
from samplelib.faceset import Faceset
from samplelib.prepare import PreparedCache, PreparedFace, prepare_face
from samplelib.render import SampleDraw, empty_batch, render_face
from samplelib.request import SampleRequest
from samplelib.yaw import yaw_bins

log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

_LARGEST_CACHE = 1 << 30
_MEMORY_SHARE = 16  # each loader may keep this part of the machine's memory
_KEPT_RESULTS = 2  # a model may ask for the batch before once more (Quick96 does)


class BatchLoader:
    """Endless batches of one side.

    `get(index)` depends only on the seed, the side, the index, the faceset and the request: not on the
    number of workers, the order of calls or what was asked before. Every epoch deals each face once, in a
    fresh order; with `uniform_yaw` every round deals each direction of view once.
    """

    def __init__(
        self,
        faceset: Faceset,
        request: SampleRequest,
        seed: int,
        side_id: int,
        workers: int | None = None,
        prefetch: int = 4,
        reference: Faceset | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """Set up; work begins with the first `get`.

        Args:
            faceset: The faces.
            request: The arrays of a batch and how random they are.
            seed: Of the training run, not negative.
            side_id: 0 for src, 1 for dst, and so on; keeps the random numbers of the sides apart.
            workers: Threads; 0 makes every batch when it is asked for. By default half of the processors, at
                most 4.
            prefetch: Batches to have ready beyond the one asked for.
            reference: Faces that lend their colours when the request has a `ct_mode`: the other person's.
            cache_bytes: Memory for prepared faces; by default a sixteenth of the machine's, at most 1 GiB.

        Raises:
            SampleError: No face of the set shows as much as the request's face type.
        """
        self.request = request
        self.seed, self.side_id = int(seed), int(side_id)
        self.waited_seconds = 0.0  # how long callers of `get` stood still
        self._faces = _FaceStore(faceset, request, cache_bytes)
        wants_transfer = request.augment.ct_mode != "none" and any(s.color_transfer for s in request.specs)
        self._reference = (
            _FaceStore(reference, request, cache_bytes) if wants_transfer and reference else None
        )
        if request.uniform_yaw:
            self._deck: Deck | BinDeck = BinDeck(self.seed, self.side_id, yaw_bins(self._faces.yaws()))
        else:
            self._deck = Deck(self.seed, self.side_id, len(self._faces))
        constant = None if callable(request.batch_size) else request.size_of(0)
        self._starts = BatchStarts(request.size_of, constant)
        workers = min(4, max(1, cpu_count() // 2)) if workers is None else workers
        self._prefetch = prefetch if workers else 0
        self._pool = ThreadPoolExecutor(workers, f"samples {side_id}") if workers else None
        self._pending: dict[int, Future[Batch]] = {}
        self._results: OrderedDict[int, Batch] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int) -> Batch:
        """The batch of that index: float32 arrays by spec name, (B, R, R, 3), (B, R, R, 1) or (B, 68, 2).

        Raises:
            SampleError: No face can be read any more.
        """
        started = time.perf_counter()
        with self._lock:
            batch = self._results.get(index)
            future = self._pending.pop(index, None)
        if batch is None:
            # A batch that no worker has begun is made here and now rather than waited for.
            batch = self.make(index) if future is None or future.cancel() else future.result()
        with self._lock:
            self._results[index] = batch
            self._results.move_to_end(index)
            while len(self._results) > _KEPT_RESULTS:
                self._results.popitem(last=False)
            self._look_ahead(index)
        self.waited_seconds += time.perf_counter() - started
        return batch

    def make(self, index: int) -> Batch:
        """Make a batch in this thread, from nothing but its index."""
        size, request = self.request.size_of(index), self.request.at(index)
        start = self._starts.start(index)
        batch = empty_batch(self.request, size)
        for slot in range(size):
            draw = SampleDraw.sample(np.random.default_rng([self.seed, self.side_id, index, slot]), request)
            self._fill(batch, slot, start + slot, draw, request)
        return batch

    def close(self) -> None:
        """Stop the workers; batches they have begun are finished and dropped."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._pending.clear()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _look_ahead(self, index: int) -> None:
        if self._pool is None:
            return
        wanted = range(index + 1, index + 1 + self._prefetch)
        for stale in [key for key in self._pending if key not in wanted]:
            self._pending.pop(stale).cancel()
        for key in wanted:
            if key not in self._pending and key not in self._results:
                self._pending[key] = self._pool.submit(self.make, key)

    def _fill(self, batch: Batch, slot: int, position: int, draw: SampleDraw, request: SampleRequest) -> None:
        """The face dealt at that position, or the next readable one of its deck, as the draw will have it.

        One that comes out as anything but numbers makes room for the next, too: a single such value in a
        batch would be the end of the network's weights.
        """
        for skip in range(len(self._faces)):
            key = self._deck.card(position, skip)
            face = self._faces.get(key)
            if face is None:
                continue
            render_face(face, draw, request, batch, slot, self._colored(face, draw))
            if all(np.isfinite(array[slot].sum()) for array in batch.values()):
                return
            self._faces.complain(key, "its sample holds values that are not numbers")
        raise SampleError(f"{self._faces.path}: none of its faces can be read any more; extract them again")

    def _colored(self, face: PreparedFace, draw: SampleDraw) -> np.ndarray | None:
        """The picture in the colours of the draw's reference face; None where no transfer is wanted."""
        if self._reference is None:
            return None
        count = len(self._reference)
        first = int(draw.reference * count)
        found = (self._reference.get((first + skip) % count) for skip in range(count))
        lender = next((other for other in found if other is not None), None)
        if lender is None:
            raise SampleError(f"{self._reference.path}: none of its faces can be read; extract them again")
        height, width = face.image.shape[:2]
        return transfer_colors(
            self.request.augment.ct_mode,
            face.image,
            _resized(lender.image, width, height),
            draw.transfer_seed,
        )


class _FaceStore:
    """The faces of a set that a request can use, prepared on demand; those found unreadable are left out."""

    def __init__(self, faceset: Faceset, request: SampleRequest, cache_bytes: int | None) -> None:
        self.path = faceset.path
        self._request = request
        self._faceset = faceset
        self._numbers = faceset.showing(request.face_type)
        left_out = len(faceset) - len(self._numbers)
        if left_out:
            log.warning(
                "%s: %d faces show less than %s and are left out", self.path, left_out, request.face_type
            )
        if cache_bytes is None:
            cache_bytes = min(_LARGEST_CACHE, total_memory() // _MEMORY_SHARE)
        self._cache = PreparedCache(cache_bytes)
        self._unreadable: set[int] = set()
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self._numbers)

    def yaws(self) -> np.ndarray:
        """(N,) float32 radians, in the order of the keys."""
        return self._faceset.yaws()[self._numbers]

    def get(self, key: int) -> PreparedFace | None:
        """The prepared face, or None, with one warning, where it cannot be read."""
        face = self._cache.get(key)
        if face is not None or key in self._unreadable:
            return face
        try:
            face = prepare_face(self._faceset[self._numbers[key]], self._request)
        except SampleError as err:
            self._unreadable.add(key)
            log.warning("left out of training: %s", err)
            return None
        self._cache.offer(key, face)
        return face

    def complain(self, key: int, why: str) -> None:
        """Tell once that a face was replaced in a batch."""
        if key not in self._told:
            self._told.add(key)
            log.warning("%s: %s was replaced in a batch: %s", self.path, self._name(key), why)

    def _name(self, key: int) -> str:
        return self._faceset[self._numbers[key]].name


def transfer_colors(mode: str, image: np.ndarray, lender: np.ndarray, seed: int) -> np.ndarray:
    """(H, W, 3) uint8 in the colours of `lender`; one call serves input and target, so both agree."""
    from core.imagelib.color_transfer import color_transfer  # loads SciPy, so only where it is used

    scaled = [pixels.astype(np.float32) / 255 for pixels in (image, lender)]
    colored = color_transfer(mode, *scaled, rng=np.random.default_rng(seed))
    return np.rint(np.clip(colored, 0, 1) * 255).astype(np.uint8)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    import cv2

    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
