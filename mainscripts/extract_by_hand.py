"""Faces that the user marks: all of them, those of frames in which nothing was found, or those to repair."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SampleError, SwapError
from core.paths import list_images
from mainscripts.extract_job import PERSON_FOLDER, Job, debug_folder

if TYPE_CHECKING:
    import numpy as np

    from core.interact.progress import Progress
    from facelib.detected import DetectedFace
    from facelib.landmarkers import Landmarker
    from mainscripts.extract_frames import Target
    from mainscripts.extract_sources import Frame


@dataclass(frozen=True)
class Place:
    """Where the face of a frame goes, and which of its old ones it leaves alone."""

    folder: str = ""  # its person's, below the output folder; none where that is not known
    kept: tuple[str, ...] = ()  # old faces in folders of several people, one of whom it may be


def run(job: Job) -> None:
    """Mark every frame that is not done, or those whose debug pictures are gone."""
    if job.options.manual_output_debug_fix:
        names = without_debug_picture(job)
        print(f"{len(names)} frames have no picture in {debug_folder(job.output)}: mark their faces.")
    else:
        names = [name for name in _all_names(job) if name not in job.done]
    _mark(job, names)


def fix(job: Job) -> None:
    """Mark the frames in which nothing was found."""
    names = [name for name in job.names() if job.report.faces.get(name) == 0]
    print(f"Nothing was found in {len(names)} frames." + (" Mark their faces." if names else ""))
    _mark(job, names)


def without_debug_picture(job: Job) -> list[str]:
    """The frames whose pictures the user deleted from the debug folder.

    Raises:
        SwapError: No picture is left there, so it is not one or the other that was deleted.
    """
    folder = debug_folder(job.output)
    there = {path.stem for path in list_images(folder)} if folder.is_dir() else set()
    if not there:
        raise SwapError(
            f"{folder}: no debug pictures, so none was deleted; extract with --output-debug first"
        )
    return [name for name in _all_names(job) if Path(name).stem not in there]


def _all_names(job: Job) -> list[str]:
    return job.source.names(job.end) or job.source.guessed_names()


def _mark(job: Job, names: list[str]) -> None:
    from core.interact.progress import Progress
    from mainscripts.extract_manual import open_manual_screen, run_manual

    if not names:
        return
    screen = open_manual_screen(job.screen)
    target, landmarker = job.target(by_hand=True), _landmarker(job)
    places = {name: _place(job, name) for name in names}  # before the frame's faces of now are replaced
    print(f"Points by {landmarker.name}.", flush=True)
    with contextlib.closing(screen), job.source.chosen(names) as frames:
        by_name, marked = {frame.name: frame for frame in frames}, set()
        with Progress("Frames marked", len(frames), "frame") as progress:
            results = run_manual(
                frames,
                screen,
                landmarker,
                job.options.manual_window_size,
                progress.write,
                face_type=target.face_type,
                propose=_proposer(job),
            )
            with contextlib.closing(results):
                for result in results:
                    if result.error:
                        job.report.failed[result.frame] = result.error
                    elif result.face or result.frame in marked or not job.done.get(result.frame):
                        marked.add(result.frame)
                        place = places[result.frame]
                        _write(job, by_name[result.frame], result.face, place, target, progress)
                    # else it was skipped, and what was found before stays


def _place(job: Job, name: str) -> Place:
    """The folder that all faces of a frame lie in; the output folder, beside them, if there are several."""
    by_folder: dict[str, list[str]] = {}
    for face in job.done.get(name, []):
        folder = _person_of(face)
        if (job.output / folder).is_dir():  # else this person was sorted out
            by_folder.setdefault(folder, []).append(face)
    if len(by_folder) == 1:
        return Place(next(iter(by_folder)))
    return Place(kept=tuple(face for folder, faces in by_folder.items() if folder for face in faces))


def _person_of(face: str) -> str:
    """The person's folder in a face's name, if there is one."""
    folder = Path(face).parent.name
    return folder if PERSON_FOLDER.fullmatch(folder) else ""


def _write(
    job: Job, frame: Frame, face: DetectedFace | None, place: Place, target: Target, progress: Progress
) -> None:
    """Write the face of a frame, or that it has none, in place of those it had."""
    from mainscripts.extract_frames import write_faces

    faces: tuple[str, ...] | SampleError = place.kept
    try:
        if face is not None or target.debug is not None:
            marked = write_faces(
                frame.name, frame.read(), [face] if face else [], target, [place.folder] if face else []
            )
            faces = (*marked, *place.kept)
            if marked and not place.folder:
                _tell_of_persons(job, frame.name, marked[0], place, progress)
    except SampleError as err:
        faces = err
    job.before[frame.name] = [*job.before.get(frame.name, []), *job.done.get(frame.name, [])]
    job.settle(frame.name, faces, progress)


def _tell_of_persons(job: Job, frame: str, face: str, place: Place, progress: Progress) -> None:
    """Say so where others lie in the folders of people and this face does not."""
    if any(map(_person_of, itertools.chain(*job.done.values()))):
        persons = ", ".join(sorted(set(map(_person_of, place.kept))))
        kept = f"; its faces in {persons} stay" if persons else ""
        progress.write(
            f"{frame}: nothing tells whose face this is: it is {job.output / face}, "
            f"move it to its person's folder{kept}"
        )


def _landmarker(job: Job) -> Landmarker:
    """The landmarker alone, for rects that are drawn."""
    from facelib.landmarkers import ON_TENSORFLOW, create_landmarker

    if job.choice.landmarker not in ON_TENSORFLOW:
        return create_landmarker(job.choice.landmarker)
    from core.nn.devices import prepare

    prepare(job.cpu_only, job.devices)
    return create_landmarker(job.choice.landmarker, precision=job.options.precision)


def _proposer(job: Job) -> Callable[[np.ndarray], Sequence[np.ndarray]]:
    """The best detector here, for jumping from one proposed face to the next."""
    from facelib.choice import is_here
    from facelib.detectors import create_detector

    if is_here("s3fd"):
        from core.nn.devices import prepare

        prepare(job.cpu_only, job.devices)
        detector = create_detector("s3fd", precision=job.options.precision)
    else:
        detector = create_detector("blazeface")
    return lambda image: [detection.rect for detection in detector.detect(image)]
