"""The sort methods: what each looks at, the order it gives, and what it sorts out.

The meanings are DFL's (reference/faces-and-files.md section 5), but for these: `blur` sorts nothing out just
because it has no edges to judge by; `black` counts pixels, not their channels; `oneface` goes by the source
frame where a face's name does not tell; `final-by-blur` and `final-by-size` work by name; files that cannot
be decoded come last where the method has no trash.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import facelib
from core.errors import AlignmentError, SampleError
from facelib.quality import cpbd_sharpness, landmark_error, masked_grey, motion_sharpness
from samplelib.sorting import chains
from samplelib.sorting.best import choose_best
from samplelib.sorting.look import Look, Watch, look, measure
from samplelib.sorting.names import Named, identify, source_stem

NO_FACE = "no face data"
LARGEST_SET = 768 << 20  # bytes of whole pictures that `absdiff` holds at once
MOST_WORK = 5e11  # bytes of pictures that it compares; beyond either it takes them reduced
REDUCED_SIDES = (64, 32)


@dataclass
class Verdict:
    """What came out of sorting.

    Attributes:
        kept: Names in their new order.
        trashed: Names of the files sorted out, and why.
        values: What was measured of a file, as text.
        sources: Every file's source frame, as far as it is known.
        problems: One line for each file with something wrong.
        notes: What else the user should know.
        changes: False if nothing is to be renamed.
    """

    kept: list[str] = field(default_factory=list)
    trashed: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str | None] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: bool = True


@dataclass(frozen=True)
class Job:
    """What a method is given.

    Attributes:
        paths: The folder's images in the order of their names.
        watch: Shows the progress.
        target: How many faces `final` is to keep.
        similar: Whether `absdiff` puts the most alike side by side.
    """

    paths: Sequence[Path]
    watch: Watch
    target: int = 2000
    similar: bool = True

    @property
    def folder(self) -> Path:
        return self.paths[0].parent


@dataclass(frozen=True)
class _Measured:
    """One file's number."""

    value: float | None  # None: sorted out if the method does that, else last
    problem: str = ""
    reason: str = NO_FACE


Measure = Callable[[Look], float]


def run_method(name: str, job: Job) -> Verdict:
    """Sort by one of `METHODS`; moves nothing."""
    return METHODS[name](job)


def _by_number(
    number: Measure, label: str, *, picture: bool, needs_face: bool, rising: bool = False, digits: int = 4
) -> Callable[[Job], Verdict]:
    """A method that gives each file a number and orders by it; NaN comes last."""

    def work(found: Look) -> _Measured:
        if found.metadata is None and needs_face:
            return _Measured(None, found.problem)
        if picture and found.image is None:
            return _Measured(None, found.problem)
        try:
            return _Measured(number(found))
        except (AlignmentError, _NoEdges) as err:
            return _Measured(None, f"{found.path.name}: {err}", getattr(err, "reason", "unusable landmarks"))

    def method(job: Job) -> Verdict:
        verdict = Verdict()
        results = measure(job.paths, work, picture, job.watch, label)
        values: list[tuple[float, str]] = []
        last: list[str] = []
        for path, (result, source) in zip(job.paths, results, strict=True):
            verdict.sources[path.name] = source
            if result.problem:
                verdict.problems.append(result.problem)
            if result.value is None and needs_face:
                verdict.trashed[path.name] = result.reason
            elif result.value is None or np.isnan(result.value):
                last.append(path.name)
            else:
                values.append((result.value if rising else -result.value, path.name))
                verdict.values[path.name] = f"{result.value:.{digits}f}"
        values.sort(key=lambda entry: entry[0])
        verdict.kept = [name for _, name in values] + last
        return verdict

    return method


class _NoEdges(SampleError):
    """A picture that is nothing but blur."""

    reason = "blurred all over"


def _sharpness(found: Look) -> float:
    value = cpbd_sharpness(masked_grey(found.image, _hull(found)))
    if value == 0:
        raise _NoEdges("blurred all over")
    return value


def _motion(found: Look) -> float:
    value = motion_sharpness(found.image, _hull(found))
    if value == 0:
        raise _NoEdges("one colour all over")
    return value


def _hull(found: Look) -> np.ndarray:
    return facelib.hull_mask(found.image.shape, found.metadata.landmarks)


def _pitch(found: Look) -> float:
    return facelib.estimate_pose(found.metadata.landmarks, found.size[0])[0]


def _yaw(found: Look) -> float:
    return facelib.estimate_pose(found.metadata.landmarks, found.size[0])[1]


def _rect_area(found: Look) -> float:
    """Area of the source rectangle, whose edges may be swapped; NaN where it is unknown."""
    if found.metadata.source_rect is None:
        return float("nan")
    left, top, right, bottom = (int(edge) for edge in found.metadata.source_rect)
    return float(abs((right - left) * (bottom - top)))


def _brightness(found: Look) -> float:
    return cv2.mean(cv2.cvtColor(found.image, cv2.COLOR_BGR2HSV))[2]


def _hue(found: Look) -> float:
    return cv2.mean(cv2.cvtColor(found.image, cv2.COLOR_BGR2HSV))[0]


def _black_pixels(found: Look) -> float:
    return float(cv2.countNonZero(cv2.inRange(found.image, (0, 0, 0), (0, 0, 0))))


def _landmark_error(found: Look) -> float:
    return landmark_error(found.metadata.landmarks)


def _sort_hist(job: Job) -> Verdict:
    def work(found: Look) -> tuple[np.ndarray | None, str]:
        return (None if found.image is None else chains.colour_histograms(found.image), found.problem)

    def order(values: list[np.ndarray], tick: chains.Tick) -> np.ndarray:
        return chains.histogram_chain(np.stack(values), tick)

    return _in_slices(job, work, order)


def _sort_absdiff(job: Job) -> Verdict:
    side = _absdiff_side(job)
    notes = [] if side is None else [f"So many pictures were compared at {side} x {side} pixels."]

    def work(found: Look) -> tuple[np.ndarray | None, str]:
        image = found.image
        if image is not None and side is not None and image.shape[:2] != (side, side):
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return image, found.problem

    def order(values: list[np.ndarray], tick: chains.Tick) -> np.ndarray:
        height, width = values[0].shape[:2]
        for index, image in enumerate(values):
            if image.shape[:2] != (height, width):
                values[index] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        flat = np.empty((len(values), height * width * 3), np.uint8)
        for index, image in enumerate(values):
            flat[index], values[index] = image.reshape(-1), image[:0]  # never hold them twice
        return chains.difference_chain(flat, job.similar, tick)

    verdict = _in_slices(job, work, order)
    verdict.notes += notes
    return verdict


def _absdiff_side(job: Job) -> int | None:
    """The side that pictures are reduced to; None to compare them as they are, exactly like DFL."""
    first = next((image for path in job.paths[:20] if (image := _picture(path)) is not None), None)
    length = len(chains.slices(len(job.paths))[0])
    size = 0 if first is None else first.size
    if length * size <= LARGEST_SET and length**2 / 2 * size <= MOST_WORK:
        return None
    fitting = (side for side in REDUCED_SIDES if length**2 / 2 * 3 * side**2 <= 2 * MOST_WORK)
    return next(fitting, REDUCED_SIDES[-1])


def _picture(path: Path) -> np.ndarray | None:
    return look(path, picture=True).image


def _in_slices(
    job: Job,
    work: Callable[[Look], tuple[np.ndarray | None, str]],
    order: Callable[[list[np.ndarray], chains.Tick], np.ndarray],
) -> Verdict:
    """Measure and order slice by slice, so that memory does not grow with the folder."""
    verdict, last = Verdict(), []
    parts = chains.slices(len(job.paths))
    for number, part in enumerate(parts):
        which = f", part {number + 1} of {len(parts)}" if len(parts) > 1 else ""
        paths = job.paths[part.start : part.stop]
        values, names = [], []
        for path, ((value, problem), source) in zip(
            paths, measure(paths, work, True, job.watch, f"Reading{which}"), strict=True
        ):
            verdict.sources[path.name] = source
            if value is None:
                verdict.problems.append(problem)
                last.append(path.name)
            else:
                values.append(value)
                names.append(path.name)
        if values:
            with job.watch(f"Sorting{which}", len(values), "face") as counter:
                verdict.kept += [names[index] for index in order(values, counter.update)]
    verdict.kept += last
    return verdict


def _sort_dissimilarity(job: Job) -> Verdict:
    def work(found: Look) -> tuple[np.ndarray | None, str]:
        if found.image is None:
            return None, found.problem
        if found.metadata is None:
            return chains.grey_histogram(cv2.cvtColor(found.image, cv2.COLOR_BGR2GRAY)), ""
        return chains.grey_histogram(masked_grey(found.image, _hull(found))), ""

    verdict, names, last, values = Verdict(), [], [], []
    results = measure(job.paths, work, True, job.watch, "Reading")
    for path, ((value, problem), source) in zip(job.paths, results, strict=True):
        verdict.sources[path.name] = source
        if value is None:
            verdict.problems.append(problem)
            last.append(path.name)
        else:
            values.append(value)
            names.append(path.name)
    if names:
        with job.watch("Comparing", len(names), "face") as counter:
            sums = chains.dissimilarity(np.stack(values), counter.update)
        ranks = np.argsort(-sums, kind="stable")
        verdict.kept = [names[rank] for rank in ranks]
        verdict.values = {names[rank]: f"{sums[rank]:.3f}" for rank in ranks}
    verdict.kept += last
    return verdict


def _named(job: Job, verdict: Verdict) -> dict[str, Named]:
    """What is known of each file's origin; fills in the verdict's sources and problems."""

    def work(found: Look) -> tuple[bool, str]:
        return found.metadata is not None, found.problem

    results = measure(job.paths, work, False, job.watch, "Reading names")
    for path, ((_, problem), source) in zip(job.paths, results, strict=True):
        verdict.sources[path.name] = source
        if problem:
            verdict.problems.append(problem)
    return identify(job.folder, verdict.sources)


def _sort_origname(job: Job) -> Verdict:
    verdict = Verdict()
    files = _named(job, verdict)
    keys = {}
    for name, file in files.items():
        if file.source is None and not file.recorded:
            verdict.trashed[name] = "no face data"
            continue
        frame = file.frame()
        keys[name] = (file.source or file.original, frame[1] if frame else 0, file.original)
    verdict.kept = sorted(keys, key=keys.__getitem__)
    verdict.values = {name: file.source for name, file in files.items() if file.source and name in keys}
    return verdict


def _sort_oneface(job: Job) -> Verdict:
    """Sort out all faces of the frames that show several."""
    verdict = Verdict()
    files = _named(job, verdict)
    frames: dict[str, str] = {}
    crowded: set[str] = set()
    for name, file in files.items():
        match = file.frame()
        if match and match[1] > 0:
            crowded.add(_frame_of(file))
        if match or file.source:
            frames[name] = _frame_of(file)
    counts = Tally(frames.values())
    crowded |= {frame for frame, count in counts.items() if count > 1}
    verdict.trashed = {
        name: "several faces in its frame" for name, frame in frames.items() if frame in crowded
    }
    verdict.kept = [path.name for path in job.paths if path.name not in verdict.trashed]
    if not verdict.trashed:
        verdict.changes = False
        verdict.notes.append("No frame has several faces; nothing to do.")
    return verdict


def _frame_of(file: Named) -> str:
    """The stem of the frame, by the face's source or its name."""
    match = file.frame()
    return source_stem(file.source) if file.source else match[0] if match else file.original


def _final(by_size: bool) -> Callable[[Job], Verdict]:
    def work(found: Look) -> tuple[tuple[float, float, float, np.ndarray] | None, str]:
        if found.metadata is None or found.image is None:
            return None, found.problem
        try:
            pitch, yaw, _ = facelib.estimate_pose(found.metadata.landmarks, found.size[0])
            mask = None if by_size else _hull(found)
        except AlignmentError as err:
            return None, f"{found.path.name}: {err}"
        sharpness = _rect_area(found) if mask is None else cpbd_sharpness(masked_grey(found.image, mask))
        grey = cv2.cvtColor(found.image, cv2.COLOR_BGR2GRAY)
        return (float(np.nan_to_num(sharpness)), yaw, pitch, chains.grey_histogram(grey)), ""

    def method(job: Job) -> Verdict:
        verdict, names, values = Verdict(), [], []
        results = measure(job.paths, work, True, job.watch, "Looking at the faces")
        for path, ((value, problem), source) in zip(job.paths, results, strict=True):
            verdict.sources[path.name] = source
            if value is None:
                verdict.problems.append(problem)
                verdict.trashed[path.name] = NO_FACE
            else:
                names.append(path.name)
                values.append(value)
        if names:
            sharpness, yaws, pitches = (np.array([value[i] for value in values]) for i in range(3))
            chosen = choose_best(job.target, sharpness, yaws, pitches, np.stack([v[3] for v in values]))
            verdict.kept = [names[index] for index in chosen]
            digits = 0 if by_size else 4
            verdict.values = {names[i]: f"{values[i][0]:.{digits}f}" for i in chosen}
            left = set(names) - set(verdict.kept)
            verdict.trashed |= {name: "not among the best" for name in names if name in left}
        return verdict

    return method


def _sort_persons(job: Job) -> Verdict:
    from samplelib.sorting.persons import embed_faces, group_persons

    verdict, names, vectors = Verdict(), [], []
    for path, (vector, source, problem) in zip(job.paths, embed_faces(job.paths, job.watch), strict=True):
        verdict.sources[path.name] = source
        if vector is None:
            verdict.problems.append(problem)
            verdict.trashed[path.name] = NO_FACE
        else:
            names.append(path.name)
            vectors.append(vector)
    persons, odd = group_persons(np.array(vectors, np.float32).reshape(-1, 128))
    start = 0
    for number, faces in enumerate([*persons, odd]):
        what = f"person {number + 1}" if number < len(persons) else "odd ones"
        verdict.kept += [names[index] for index in faces]
        verdict.values |= {names[index]: what for index in faces}
        if len(faces):
            verdict.notes.append(f"{what}: {start:05d} to {start + len(faces) - 1:05d}")
        start += len(faces)
    return verdict


METHODS: dict[str, Callable[[Job], Verdict]] = {
    "blur": _by_number(_sharpness, "Sharpness", picture=True, needs_face=True),
    "motion-blur": _by_number(_motion, "Sharpness", picture=True, needs_face=True, digits=0),
    "face-yaw": _by_number(_yaw, "Yaw", picture=False, needs_face=True),
    "face-pitch": _by_number(_pitch, "Pitch", picture=False, needs_face=True),
    "face-source-rect-size": _by_number(_rect_area, "Sizes", picture=False, needs_face=True, digits=0),
    "hist": _sort_hist,
    "hist-dissim": _sort_dissimilarity,
    "brightness": _by_number(_brightness, "Brightness", picture=True, needs_face=False, digits=2),
    "hue": _by_number(_hue, "Hue", picture=True, needs_face=False, digits=2),
    "black": _by_number(_black_pixels, "Black", picture=True, needs_face=False, rising=True, digits=0),
    "origname": _sort_origname,
    "oneface": _sort_oneface,
    "absdiff": _sort_absdiff,
    "final-by-blur": _final(by_size=False),
    "final-by-size": _final(by_size=True),
    "face-similarity": _sort_persons,
    "landmark-quality": _by_number(_landmark_error, "Landmarks", picture=False, needs_face=True, rising=True),
}
