"""All frames through the merger: reading ahead, predicting in batches, blending and writing, all at once.

Threads suffice: OpenCV, numpy and TensorFlow release Python's lock. The calling thread alone predicts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from core import storage
from core.errors import FileFormatError, SwapError
from core.imageio import encode_image, read_deep_image, to_uint8, with_depth_of
from core.video.provenance import mark_image
from merger.frames import FrameFaces
from merger.merge_face import FaceInput, Merged, Prediction, crop_face, merge_frame
from merger.options import MergeOptions
from merger.placement import FaceModel
from merger.session import MergeSession, input_hash

Predictor = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]

BATCH = 8  # faces per call of the network, fewer for large ones
BATCH_PIXELS = BATCH * 256 * 256
GIVE_UP = 4  # faces in a row that the network fails on
HELD_BYTES = 1 << 30  # decoded frames and results held at a time


@dataclass(frozen=True)
class MergeSettings:
    """What stays the same for all frames of a run."""

    options: MergeOptions
    model: FaceModel
    workers: int
    batch: int = 0  # faces per call of the network; 0 chooses by their size

    def faces_per_call(self) -> int:
        return self.batch or max(1, min(BATCH, BATCH_PIXELS // self.model.resolution**2))


@dataclass
class Report:
    """What became of the frames."""

    merged: int = 0
    passed_through: int = 0  # frames without a face
    unreadable: dict[str, str] = field(default_factory=dict)  # by file name: nothing was written for these
    failed: dict[str, str] = field(default_factory=dict)  # these went through untouched
    notes: dict[str, str] = field(default_factory=dict)  # merged, but not as asked


@dataclass
class _Loaded:
    """A frame on its way through the pool."""

    frame: FrameFaces
    input_key: str
    image: np.ndarray  # (H, W, 3) uint8
    deep: np.ndarray | None  # the same in uint16, where the frame has so many bits
    inputs: list[FaceInput]
    failure: str = ""


def merge_all(
    frames: Iterable[FrameFaces],
    predictor: Predictor,
    settings: MergeSettings,
    session: MergeSession,
    on_frame: Callable[[], None] = lambda: None,
) -> Report:
    """Merge frames and write them, one that fails as it came.

    Args:
        frames: What to do, in order.
        predictor: Maps (N, R, R, 3) float32 faces to face, source mask and destination mask.
        settings: Of the run.
        session: Tells where results go, and remembers them.
        on_frame: Called after each frame, in the calling thread.

    Returns:
        What became of them.

    Raises:
        SwapError: Results cannot be written, or the network fails whatever it is given.
        KeyboardInterrupt: Frames under way were finished first.
    """
    return _Run(predictor, settings, session, on_frame).all(iter(frames))


class _Run:
    """One pass over the frames; the queues between its stages."""

    def __init__(
        self,
        predictor: Predictor,
        settings: MergeSettings,
        session: MergeSession,
        on_frame: Callable[[], None],
    ) -> None:
        self.settings, self.session, self.on_frame = settings, session, on_frame
        self.report = Report()
        self.batch = settings.faces_per_call()
        self.predict = _BatchPredictor(predictor, self.batch)
        self.loading: deque[tuple[FrameFaces, Future[_Loaded]]] = deque()
        self.waiting: list[_Loaded] = []
        self.finishing: dict[Future[Merged], _Loaded] = {}
        self.limit = 4  # frames read ahead, and results not yet written; grows once their size is known

    def all(self, frames: Iterator[FrameFaces]) -> Report:
        pool = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="merge")
        try:
            while self._read_ahead(frames, pool):
                self._take_loaded()
                if not self.loading or self._faces_waiting() >= self.batch:
                    self._predict_waiting(pool)
                self._collect_finished(self.limit)
            self._predict_waiting(pool)
            self._collect_finished(0)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return self.report

    def _read_ahead(self, frames: Iterator[FrameFaces], pool: ThreadPoolExecutor) -> bool:
        while len(self.loading) < self.limit and (frame := next(frames, None)) is not None:
            self.loading.append((frame, pool.submit(_load, frame, self.settings)))
        return bool(self.loading)

    def _take_loaded(self) -> None:
        """Move the next frame from the readers to the predictor's queue."""
        frame, future = self.loading.popleft()
        try:
            loaded = future.result()
        except FileFormatError as err:
            self.report.unreadable[frame.path.name] = str(err)
            self.on_frame()
            return
        self.waiting.append(loaded)
        deep = 0 if loaded.deep is None else loaded.deep.nbytes
        held = HELD_BYTES // (3 * loaded.image.nbytes + deep)
        self.limit = int(np.clip(held, self.settings.workers, 2 * self.batch))

    def _faces_waiting(self) -> int:
        # Frames without faces count a little, so that a long row of them does not pile up.
        return sum(len(loaded.inputs) or 1 for loaded in self.waiting)

    def _predict_waiting(self, pool: ThreadPoolExecutor) -> None:
        """Predict the faces of all waiting frames and hand the frames on to be blended and written."""
        squares = [face.square for loaded in self.waiting for face in loaded.inputs]
        predictions = iter(self.predict(squares))
        for loaded in self.waiting:
            mine = [next(predictions) for _ in loaded.inputs]
            broken = [prediction for prediction in mine if isinstance(prediction, str)]
            if broken:
                loaded.failure = broken[0]
            future = pool.submit(_finish, loaded, mine, self.settings, self.session)
            self.finishing[future] = loaded
        self.waiting.clear()

    def _collect_finished(self, allowed: int) -> None:
        """Report finished frames; wait until at most `allowed` are under way."""
        while self.finishing:
            timeout = None if len(self.finishing) > allowed else 0
            done, _ = wait(self.finishing, timeout=timeout, return_when=FIRST_COMPLETED)
            if not done:
                return
            for future in done:
                self._report(self.finishing.pop(future), future)

    def _report(self, loaded: _Loaded, future: Future[Merged]) -> None:
        name = loaded.frame.path.name
        try:
            merged = future.result()
        except OSError as err:
            target = err.filename or self.session.result_path(loaded.frame.stem)
            raise SwapError(
                f"{target}: cannot be written ({err.strerror}); the run goes on from here when started again"
            ) from err
        if loaded.failure:
            self.report.failed[name] = loaded.failure
        elif not loaded.inputs:
            self.report.passed_through += 1
        else:
            self.report.merged += 1
        if merged.notes:
            self.report.notes[name] = "; ".join(merged.notes)
        self.on_frame()


def _load(frame: FrameFaces, settings: MergeSettings) -> _Loaded:
    """Read a frame and cut out its faces.

    Raises:
        FileFormatError: The frame cannot be read.
    """
    try:
        key = input_hash(frame)
    except OSError as err:
        raise FileFormatError(f"{frame.path}: cannot be read ({err.strerror})") from err
    whole = read_deep_image(frame.path)
    loaded = _Loaded(frame, key, to_uint8(whole), whole if whole.dtype == np.uint16 else None, [])
    try:
        scale = settings.options.output_face_scale
        loaded.inputs = [crop_face(loaded.image, face, settings.model, scale) for face in frame.faces]
    except Exception as err:  # whatever is wrong with one frame must not cost the others
        loaded.failure = _describe(err)
    return loaded


def _finish(
    loaded: _Loaded, predictions: Sequence[Prediction], settings: MergeSettings, session: MergeSession
) -> Merged:
    """Blend and write one frame; notes a failure in `loaded` and writes the frame as it came.

    Raises:
        OSError: A result cannot be written.
    """
    merged = None
    if not loaded.failure:
        try:
            merged = merge_frame(loaded.image, loaded.inputs, predictions, settings.options, settings.model)
        except Exception as err:  # see _load
            loaded.failure = _describe(err)
    if merged is None:
        merged = merge_frame(loaded.image, [], [], settings.options, settings.model)
    stem = loaded.frame.stem
    session.begin_frame(loaded.frame)
    result = merged.image
    if loaded.deep is not None and result.shape == loaded.deep.shape:
        result = with_depth_of(result, loaded.image, loaded.deep)  # 8 bits are for the face alone
    picture = encode_image(".png", result)
    if merged.altered:
        picture = mark_image(picture)
    storage.write_bytes(session.mask_path(stem), encode_image(".png", merged.mask))
    storage.write_bytes(session.result_path(stem), picture)
    session.finish_frame(loaded.frame, loaded.input_key)
    return Merged(merged.image[:0], merged.mask[:0], merged.notes)  # the pictures are not held any longer


def _describe(err: Exception) -> str:
    return str(err) if isinstance(err, SwapError) else f"{type(err).__name__}: {err}"


class _BatchPredictor:
    """Calls the network with batches of one size, the last one filled up, so that it is compiled once.

    A batch that fails is halved, down to single faces: too large for the memory, it stays smaller from then
    on; is a single face to blame, that face alone fails.
    """

    def __init__(self, predictor: Predictor, batch: int) -> None:
        self.predictor, self.batch, self.wanted = predictor, batch, batch
        self.failures = 0  # single faces in a row

    def __call__(self, squares: Sequence[np.ndarray]) -> list[Prediction | str]:
        """A prediction for each face, or the message of what went wrong with it.

        Raises:
            SwapError: One face after another fails; it is not the faces.
        """
        result: list[Prediction | str] = []
        while len(result) < len(squares):
            try:
                result += self._call(squares[len(result) : len(result) + self.batch])
                self.failures = 0
            except Exception as err:  # a library's; whatever it is, the next batch may pass
                if self.batch > 1:
                    self.batch //= 2
                    continue
                self.failures += 1
                if self.failures == GIVE_UP:
                    raise SwapError(f"the model cannot predict: {_describe(err)}") from err
                result.append(f"the model cannot predict this face: {_describe(err)}")
                self.batch = self.wanted
        return result

    def _call(self, squares: Sequence[np.ndarray]) -> list[Prediction | str]:
        filled = np.zeros((self.batch, *squares[0].shape), np.float32)
        filled[: len(squares)] = squares
        outputs = [np.asarray(array, np.float32) for array in self.predictor(filled)]
        predictions: list[Prediction | str] = []
        for index in range(len(squares)):
            parts = [array[index] for array in outputs]
            healthy = all(np.isfinite(part).all() for part in parts)
            predictions.append(
                Prediction(*parts) if healthy else "the model predicts no numbers for this face"
            )
        return predictions
