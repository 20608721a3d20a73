"""Extraction in two passes: find the faces of all frames, link them over time and choose, then cut them out.

The second pass follows from the first one's file and the options alone, so both can be stopped anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import SwapError
from core.interact.progress import Progress
from facelib.detected import DetectedFace, rect_area
from facelib.embedding import EVERY, FaceEmbedder
from facelib.tracking import Track, drop_short, fill_gaps, keep_largest, link
from mainscripts.extract_frames import map_frames, write_faces
from mainscripts.extract_job import PERSON_FOLDER, Job
from mainscripts.extract_scan import Scan, scan_frames
from mainscripts.extract_sources import Frame

LISTED_PERSONS = 30


@dataclass(frozen=True, eq=False)
class Planned:
    """A face that is to be cut out of a frame."""

    face: DetectedFace
    folder: str = ""  # subfolder of its person


@dataclass
class Plan:
    """What is to be cut out of which frame."""

    faces: dict[str, list[Planned]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def fingerprint(self, name: str) -> str:
        """Changes when anything about the frame's faces does."""
        digest = hashlib.sha256()
        for planned in self.faces.get(name, []):
            digest.update(repr((planned.face.rect, planned.folder)).encode())
            digest.update(np.ascontiguousarray(planned.face.landmarks, "<f4").tobytes())
        return digest.hexdigest()[:16]


def run(job: Job) -> None:
    """Do both passes, as far as they are not done."""
    pipeline = job.pipeline()
    embedder = _embedder(job)
    references = None
    if job.options.person:
        from facelib.people import load_references

        references = load_references(Path(job.options.person), pipeline, embedder)
        print(f"{job.options.person}: {len(references)} pictures tell who is meant.", flush=True)
    print(f"Finding faces with {pipeline.name}, in a first pass over all frames.", flush=True)
    job.log.begin()
    settings = {"precision": job.options.precision}
    every = EVERY if job.options.links else 1
    scan = scan_frames(job.source, job.output, pipeline, embedder, every, settings)
    job.report.failed.update({name: str(error) for name, error in scan.failed.items()})
    job.reached_end([*scan.offsets, *scan.failed])
    plan = make_plan(job, scan, references)
    job.report.notes += plan.notes
    _cut(job, plan, scan)


def _embedder(job: Job) -> FaceEmbedder | None:
    """What tells people apart; None where the package is missing and position must do.

    Raises:
        SwapError: The package is missing, and nothing else can find one person.
    """
    try:
        return FaceEmbedder()
    except SwapError as err:
        if job.options.person:
            raise
        print(f"Faces are linked by where they are alone: {err}", flush=True)
        return None


def make_plan(job: Job, scan: Scan, references: np.ndarray | None) -> Plan:
    """Link, fill, drop, choose and steady the faces that were found."""
    names = job.names()
    if not job.options.links:
        assert references is not None
        return _plan_person(job, scan, names, references)
    options = job.options
    found = [frame for _, frame in scan.read(names)]
    everything = link(found, options.max_gap)
    tracks = drop_short(fill_gaps(everything, options.max_gap), options.min_track)
    plan = Plan()
    dropped = len(everything) - len(tracks)
    filled = sum(sum(track.filled) for track in tracks)
    plan.notes.append(
        f"Tracks:            {len(tracks)}; {dropped} dropped that show a face in fewer than "
        f"{options.min_track} frames; {filled} faces filled in"
    )
    if references is not None:
        from facelib.people import match_tracks

        several = len(tracks)
        tracks = match_tracks(tracks, references, options.person_threshold)
        plan.notes.append(f"Of the person:     {len(tracks)} of {several} tracks")
    if options.smooth:
        from facelib.smoothing import smooth_track

        tracks = [smooth_track(track, options.smooth_strength) for track in tracks]
    persons = _persons(tracks) if options.split_people else []
    tracks = keep_largest(tracks, options.max_faces_from_image)
    folders = _person_folders(persons, tracks, plan)
    for track in tracks:
        for index, face in zip(track.frames.tolist(), track.faces, strict=True):
            plan.faces[names[index]].append(Planned(face, folders.get(track.id, "")))
    for faces in plan.faces.values():
        faces.sort(key=lambda planned: -rect_area(planned.face.rect))
    return plan


def _plan_person(job: Job, scan: Scan, names: list[str], references: np.ndarray) -> Plan:
    """The one face of each frame that is the person's."""
    from facelib.people import match, thresholds

    plan, others = Plan(), 0
    for name, frame in scan.read(names):
        if frame.embeddings is None:
            continue
        limits = thresholds([face.landmarks for face in frame.faces], job.options.person_threshold)
        chosen = match(frame.embeddings, references, limits)
        plan.faces[name] = [Planned(face) for face, is_it in zip(frame.faces, chosen) if is_it]
        others += len(frame.faces) - len(plan.faces[name])
    plan.notes.append(f"Other people:      {others} faces left out")
    return plan


def _persons(tracks: list[Track]) -> list[set[int]]:
    """The numbers of each person's tracks."""
    from facelib.people import cluster

    return [{track.id for track in person} for person in cluster(tracks)]


def _person_folders(persons: list[set[int]], tracks: list[Track], plan: Plan) -> dict[int, str]:
    """The folder of each track: one for each person who is left in the tracks, those seen most first."""
    folders = {}
    by_id = {track.id: track for track in tracks}
    left = [[by_id[number] for number in sorted(person) if number in by_id] for person in persons]
    persons = sorted(filter(None, left), key=lambda person: -sum(track.seen for track in person))
    width = max(2, len(str(len(persons))))
    for number, person in enumerate(persons, start=1):
        folder = f"person_{number:0{width}}"
        folders.update({track.id: folder for track in person})
        if number <= LISTED_PERSONS:
            count = sum(len(track.frames) for track in person)
            plan.notes.append(f"{folder}:         {count} faces in {len(person)} tracks")
    if len(persons) > LISTED_PERSONS:
        plan.notes.append(f"and {len(persons) - LISTED_PERSONS} persons more")
    return folders


def _cut(job: Job, plan: Plan, scan: Scan) -> None:
    """The second pass: cut out what is planned, frames left out that were cut by the same plan."""
    from core.storage import remove_leavings

    for folder in {p.folder for faces in plan.faces.values() for p in faces if p.folder}:
        (job.output / folder).mkdir(exist_ok=True)
    for folder in job.output.iterdir():
        if folder.is_dir() and PERSON_FOLDER.fullmatch(folder.name):
            remove_leavings(folder)
    prints = {name: plan.fingerprint(name) for name in scan.offsets}
    changed = [name for name in job.done if name in prints and job.plans.get(name) not in ("", prints[name])]
    if changed:
        print(f"{len(changed)} frames were cut before as it is no longer planned; they are cut again.")
    for name in changed:  # frames without a plan were extracted or marked otherwise, and stay
        job.before[name] = [*job.before.get(name, []), *job.done.pop(name)]
        del job.report.faces[name]
    target = job.target()

    def work(frame: Frame) -> tuple[str, ...]:
        planned = plan.faces.get(frame.name, [])
        folders = [p.folder for p in planned]
        return write_faces(frame.name, frame.read(), [p.face for p in planned], target, folders)

    missing = [name for name in scan.offsets if name not in job.done]
    with Progress("Cutting faces", len(missing), "frame") as progress:
        if target.debug is None:  # then there is nothing to do with frames without a face
            for name in missing:
                if not plan.faces.get(name):
                    job.settle(name, (), progress, prints[name])
        if all(name in job.done for name in scan.offsets):
            return  # a video need not be decoded for nothing
        frames = job.source.frames({*job.done, *scan.failed})
        results = map_frames(frames, work, job.source.ahead)
        with contextlib.closing(results):
            for name, faces in results:
                job.settle(name, faces, progress, prints.get(name, ""))


__all__ = ["Plan", "Planned", "make_plan", "run"]
