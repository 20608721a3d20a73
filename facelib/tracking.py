"""Which face of one frame is which of the next: tracks, by overlap along the movement and by embedding.

Frames come in one by one, so memory holds no pictures, and what one frame costs does not grow with the clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from facelib.detected import DetectedFace, rect_area
from facelib.shots import CutFinder, picture_signature

__all__ = [
    "FrameFaces",
    "Linker",
    "Track",
    "drop_short",
    "fill_gaps",
    "keep_largest",
    "landmark_bounds",
    "link",
    "picture_signature",
]

MAX_GAP = 10  # frames
REACH = 0.7  # how far a face may be from where it was expected, in its sides; more after a gap
KNOWN_REACH = 1.2  # the same where the embedding says who it is
REACH_GROWTH = 0.1  # for each frame of a gap
SIZE_CHANGE = 1.8  # largest factor between two sightings
ALIKE = (
    0.45  # embeddings at this distance from a track's mean are its person's (within the shared clips: 0.34)
)
DIFFERENT = 0.55  # and from here on another's (the shared clips: 0.65), whatever the position says
WAITING = 0.05  # what each frame unseen costs: of two tracks the one seen last goes on
STEADY_VELOCITY = 0.4  # share of a surprise that is taken for a change of velocity
SLOWING = 0.85  # of the velocity, for each frame unseen
SAMPLES = 64  # embeddings that a track keeps, spread evenly over its length
FORBIDDEN = 1e3

HIDDEN = 0.3  # a guessed face is left out where another's covers more of it than this


@dataclass(frozen=True, eq=False)
class FrameFaces:
    """What was found in one frame.

    Attributes:
        index: The frame's number.
        faces: Its faces.
        embeddings: (N, 128), one row for each face; rows of NaN are unknown. None where no face has one.
        signature: From `picture_signature`; shot cuts are seen where consecutive frames have one.
    """

    index: int
    faces: Sequence[DetectedFace]
    embeddings: np.ndarray | None = None
    signature: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Track:
    """One person's face from frame to frame, without a cut.

    Attributes:
        id: Number from 0, in order of the first frame.
        frames: (N,) int64, rising numbers of the frames.
        faces: The face in each.
        filled: Whether it was not seen but put between its neighbours.
        picks: Which face of its frame's `faces` each is; -1 where filled.
        embedding: (128,) float32, the median of the known ones, or None.
        samples: How many embeddings that rests on.
    """

    id: int
    frames: np.ndarray
    faces: list[DetectedFace]
    filled: list[bool]
    picks: list[int]
    embedding: np.ndarray | None = None
    samples: int = 0

    @property
    def seen(self) -> int:
        """Frames in which the face was seen, not filled in."""
        return len(self.filled) - sum(self.filled)


def link(frames: Iterable[FrameFaces], max_gap: int = MAX_GAP) -> list[Track]:
    """All tracks of a clip, in order of their first frames; gaps are left open (see `fill_gaps`).

    Args:
        frames: In order; those without faces may be left out, except where their signature shows a cut.
        max_gap: A face may be unseen for so many frames and still go on.

    Raises:
        ValueError: Frames are out of order.
    """
    linker = Linker(max_gap)
    tracks = [track for frame in frames for track in linker.add(frame)]
    return sorted(tracks + linker.finish(), key=lambda track: track.id)


class Linker:
    """`link` frame by frame, for clips whose faces should not all be held: finished tracks can be taken."""

    def __init__(self, max_gap: int = MAX_GAP) -> None:
        """`max_gap`: a face may be unseen for so many frames and still go on."""
        self._max_gap = max_gap
        self._open: list[_Open] = []
        self._next_id = 0
        self._last: int | None = None
        self._cuts = CutFinder()

    def add(self, frame: FrameFaces) -> list[Track]:
        """Take the next frame; returns the tracks that have ended before it.

        Raises:
            ValueError: The frame's number is not larger than the last one's.
        """
        if self._last is not None and frame.index <= self._last:
            raise ValueError(f"frame {frame.index} came after frame {self._last}")
        self._last = frame.index
        if self._cuts.is_cut(frame.signature):
            ended, self._open = self._open, []
        else:
            ended = [track for track in self._open if frame.index - track.last > self._max_gap + 1]
            self._open = [track for track in self._open if frame.index - track.last <= self._max_gap + 1]
        finished = [track.close() for track in ended]
        if frame.faces:
            finished += self._assign(frame)
        return finished

    def finish(self) -> list[Track]:
        """The tracks that were still open."""
        ended, self._open = self._open, []
        return [track.close() for track in ended]

    def _assign(self, frame: FrameFaces) -> list[Track]:
        """Give each face to a track or begin one with it; returns uncertain ends cut off from tracks."""
        boxes = np.array([landmark_bounds(face.landmarks) for face in frame.faces])
        embeddings = _rows(frame)
        known = np.isfinite(embeddings[:, 0])
        free = set(range(len(boxes)))
        split: list[Track] = []
        if self._open:
            predicted = np.array([track.predict(frame.index) for track in self._open])
            waits = np.array([frame.index - track.last for track in self._open], np.float64)
            apart = _embedding_distances(self._open, embeddings)
            displaced = np.array([track.displaced for track in self._open])
            cost, refused = _costs(predicted, boxes, waits, apart, displaced)
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                if cost[row, column] < FORBIDDEN:
                    self._open[row].append(
                        frame, column, boxes[column], embeddings[column] if known[column] else None
                    )
                    free.discard(column)
            # Somebody else is where a track was to go on: faces since its person was last recognised are in
            # doubt.
            for row in np.flatnonzero(refused.any(axis=1)):
                track = self._open[row]
                if track.last == frame.index:
                    continue
                track.displaced = True
                if track.unsure:
                    split.append(track.split_off(self._take_id()).close())
        for number in sorted(free):
            track = _Open(self._take_id())
            track.append(frame, number, boxes[number], embeddings[number] if known[number] else None)
            self._open.append(track)
        return split

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


@dataclass(eq=False)
class _Open:
    """A track that may go on."""

    id: int
    frames: list[int] = field(default_factory=list)
    faces: list[DetectedFace] = field(default_factory=list)
    picks: list[int] = field(default_factory=list)
    box: np.ndarray | None = None  # (4,) the last one
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # pixels a frame
    total: np.ndarray | None = None  # (128,) sum of the embeddings
    count: int = 0
    samples: list[np.ndarray] = field(default_factory=list)
    stride: int = 1  # every so many-th embedding is kept as a sample
    unsure: int = 0  # faces since the last one with an embedding
    displaced: bool = False  # somebody else is where it was: only an embedding brings it back

    @property
    def last(self) -> int:
        return self.frames[-1]

    def predict(self, index: int) -> np.ndarray:
        """(4,) where the face should be in frame `index`."""
        frames = index - self.last
        reach = (1 - SLOWING**frames) / (1 - SLOWING)
        return self.box + np.tile(self.velocity * reach, 2)

    def append(self, frame: FrameFaces, pick: int, box: np.ndarray, embedding: np.ndarray | None) -> None:
        if self.frames:
            surprise = (box - self.predict(frame.index)).reshape(2, 2).mean(axis=0)
            steps = frame.index - self.last
            # The first step tells the velocity itself.
            share = STEADY_VELOCITY if len(self.frames) > 1 else 1.0
            self.velocity = self.velocity * SLOWING ** (steps - 1) + share * surprise / steps
        self.box = box
        self.frames.append(frame.index)
        self.faces.append(frame.faces[pick])
        self.picks.append(int(pick))
        self.unsure += 1
        if embedding is not None:
            self.unsure, self.displaced = 0, False
            self._learn(embedding)

    def _learn(self, embedding: np.ndarray) -> None:
        self.total = embedding.astype(np.float64) if self.total is None else self.total + embedding
        if self.count % self.stride == 0:
            self.samples.append(np.array(embedding, np.float32))
            if len(self.samples) > SAMPLES:
                self.samples = self.samples[::2]
                self.stride *= 2
        self.count += 1

    def split_off(self, number: int) -> _Open:
        """The faces since the last embedding, as a track of their own."""
        start = len(self.frames) - self.unsure
        tail = _Open(number, self.frames[start:], self.faces[start:], self.picks[start:])
        del self.frames[start:], self.faces[start:], self.picks[start:]
        self.unsure = 0
        self.box, self.velocity = landmark_bounds(self.faces[-1].landmarks), np.zeros(2)
        return tail

    def close(self) -> Track:
        embedding = np.median(self.samples, axis=0).astype(np.float32) if self.samples else None
        frames = np.array(self.frames, np.int64)
        filled = [False] * len(self.frames)
        return Track(self.id, frames, self.faces, filled, self.picks, embedding, len(self.samples))


def _costs(
    predicted: np.ndarray, boxes: np.ndarray, waits: np.ndarray, apart: np.ndarray, displaced: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What it costs to take each face for each track's next; FORBIDDEN where that cannot be.

    Args:
        predicted: (T, 4) where tracks should be.
        boxes: (D, 4) the faces.
        waits: (T,) frames since each track's last face.
        apart: (T, D) distances of embeddings, NaN where unknown.
        displaced: (T,) bool, tracks that only an embedding can go on with.

    Returns:
        (T, D) costs, and (T, D) bool: the face is where the track should be, but somebody else's.
    """
    low = np.maximum(predicted[:, None, :2], boxes[None, :, :2])
    high = np.minimum(predicted[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    sides = predicted[:, 2:] - predicted[:, :2], boxes[:, 2:] - boxes[:, :2]
    area = np.maximum(sides[0].prod(axis=1), 1e-6), np.maximum(sides[1].prod(axis=1), 1e-6)
    overlap = shared / (area[0][:, None] + area[1][None] - shared)
    middles = predicted[:, :2] + predicted[:, 2:], boxes[:, :2] + boxes[:, 2:]
    length = np.linalg.norm(middles[0][:, None] - middles[1][None], axis=2) / 2
    length /= (area[0][:, None] * area[1][None]) ** 0.25
    growth = np.abs(np.log(area[1][None] / area[0][:, None])) / 2
    known, alike = np.isfinite(apart), np.nan_to_num(apart, nan=1.0) < ALIKE
    reach = np.where(alike, KNOWN_REACH, REACH) * (1 + REACH_GROWTH * (waits[:, None] - 1))
    near = (length < reach) & (growth < np.log(SIZE_CHANGE))
    another = known & (apart > DIFFERENT)
    near &= known | ~displaced[:, None]
    cost = (
        (1 - overlap)
        + length
        + growth
        + WAITING * (waits[:, None] - 1)
        + 4 * np.where(known, apart, (ALIKE + DIFFERENT) / 2)
    )
    return np.where(near & ~another, cost, FORBIDDEN), near & another & (overlap > 0.3)


def _embedding_distances(tracks: list[_Open], embeddings: np.ndarray) -> np.ndarray:
    """(T, D) distances between the tracks' means and the faces; NaN where either is unknown."""
    nothing = np.full(embeddings.shape[1], np.nan)
    means = np.array([nothing if track.total is None else track.total / track.count for track in tracks])
    return np.linalg.norm(means[:, None] - embeddings[None], axis=2)


def _rows(frame: FrameFaces) -> np.ndarray:
    """(N, K) embeddings of a frame's faces; NaN where unknown."""
    if frame.embeddings is None:
        return np.full((len(frame.faces), 1), np.nan)
    rows = np.asarray(frame.embeddings, np.float64)
    if rows.ndim != 2 or len(rows) != len(frame.faces):
        raise ValueError(f"frame {frame.index}: {len(frame.faces)} faces, embeddings of shape {rows.shape}")
    return rows


def landmark_bounds(points: np.ndarray) -> np.ndarray:
    """(4,) float64 left, top, right, bottom of landmarks (68, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)


def drop_short(tracks: Iterable[Track], least: int) -> list[Track]:
    """The tracks whose face was seen in at least `least` frames."""
    return [track for track in tracks if track.seen >= least]


def keep_largest(tracks: Iterable[Track], most: int) -> list[Track]:
    """The tracks with no more than the `most` largest faces of each frame; 0 keeps all."""
    tracks = list(tracks)
    if most == 0:
        return tracks
    rivals: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for track in tracks:
        for frame, face in zip(track.frames.tolist(), track.faces, strict=True):
            rivals[frame].append((-rect_area(face.rect), track.id))
    kept = {(frame, number) for frame, faces in rivals.items() for _, number in sorted(faces)[:most]}
    rows = {t.id: [n for n, frame in enumerate(t.frames.tolist()) if (frame, t.id) in kept] for t in tracks}
    return [_of_rows(track, rows[track.id]) for track in tracks if rows[track.id]]


def _of_rows(track: Track, rows: list[int]) -> Track:
    return replace(
        track,
        frames=track.frames[rows],
        faces=[track.faces[row] for row in rows],
        filled=[track.filled[row] for row in rows],
        picks=[track.picks[row] for row in rows],
    )


def fill_gaps(tracks: Sequence[Track], max_gap: int = MAX_GAP) -> list[Track]:
    """Put faces into the tracks' gaps, landmarks in a straight line between the neighbours'.

    A face is not put where another track's covers it: that one was in front, and its picture would be taken
    for this person's.

    Args:
        tracks: All tracks of the clip.
        max_gap: Longer gaps stay open.
    """
    others: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    wanted = {frame for track in tracks for frame in _missing(track, max_gap)}
    for track in tracks:
        for frame, face, filled in zip(track.frames.tolist(), track.faces, track.filled, strict=True):
            if frame in wanted and not filled:
                others[frame].append((track.id, landmark_bounds(face.landmarks)))
    return [_fill(track, others, max_gap) for track in tracks]


def _missing(track: Track, max_gap: int) -> Iterator[int]:
    steps = np.diff(track.frames)
    for number in np.flatnonzero((steps > 1) & (steps <= max_gap + 1)):
        yield from range(int(track.frames[number]) + 1, int(track.frames[number + 1]))


def _fill(track: Track, others: dict[int, list[tuple[int, np.ndarray]]], max_gap: int) -> Track:
    missing = set(_missing(track, max_gap))
    if not missing:
        return track
    rows: list[tuple[int, DetectedFace, bool, int]] = []
    seen = zip(track.frames.tolist(), track.faces, track.filled, track.picks, strict=True)
    for frame, face, filled, pick in seen:
        if rows and rows[-1][0] + 1 in missing:
            before_frame, before = rows[-1][:2]
            for between in range(before_frame + 1, frame):
                guess = _between(before, face, (between - before_frame) / (frame - before_frame))
                if not _hidden(guess, [box for number, box in others[between] if number != track.id]):
                    rows.append((between, guess, True, -1))
        rows.append((frame, face, filled, pick))
    frames, faces, filled, picks = (list(column) for column in zip(*rows, strict=True))
    return replace(track, frames=np.array(frames, np.int64), faces=faces, filled=filled, picks=picks)


def _between(before: DetectedFace, after: DetectedFace, share: float) -> DetectedFace:
    """The face at `share` (0 to 1) of the way from `before` to `after`."""
    landmarks = (1 - share) * before.landmarks + share * after.landmarks
    rect = (1 - share) * np.array(before.rect) + share * np.array(after.rect)
    left, top, right, bottom = (round(float(v)) for v in rect)
    score = min(before.score, after.score)
    return DetectedFace((left, top, right, bottom), landmarks.astype(np.float32), score)


def _hidden(face: DetectedFace, boxes: list[np.ndarray]) -> bool:
    box = landmark_bounds(face.landmarks)
    area = max(float(np.prod(box[2:] - box[:2])), 1e-6)
    return any(
        float(np.prod(np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None)))
        > HIDDEN * area
        for other in boxes
    )
