"""Faces that may not belong: other people, by dlib's network, and what is no face, by its landmarks."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from core.errors import SampleError
from core.system import cpu_count
from samplelib.report.measure import FaceTable, StoredImage
from samplelib.sorting.look import Watch, in_order
from samplelib.sorting.persons import group_persons

MOST_EMBEDDED = 1000  # faces: dlib's network takes some 70 ms of a processor for each
FIRST_SHARE = 2 / 3  # of these are spread evenly; the others go to the surroundings of what those found
FEWEST = 8  # faces of a person by which strangers can be told
DEVIATIONS = 6.0  # robust standard deviations of the set from which a number is an outlier ...
LEAST_ERROR = 0.16  # ... if landmarks are further from a head's than this: 0.05 .. 0.1 are usual
LEAST_MISFIT = 0.05  # or the crop further from its landmarks than this, in its sides
STEEPEST = 50.0  # degrees up or down beyond which landmarks are wrong more often than heads
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_FEW = 24  # faces that are not worth the start of processes
_CHUNK = 8

_embedder = None


@dataclass(frozen=True)
class Suspect:
    """One face that should be looked at."""

    index: int
    reason: str
    weight: float  # how far beyond the limit; the largest is shown first


@dataclass(frozen=True)
class Suspicion:
    """Who is suspected, and what that rests on."""

    suspects: list[Suspect]
    method: str
    embedded: int  # faces that dlib's network has seen


def find_suspects(table: FaceTable, vectors: np.ndarray | None, why_not: str = "") -> Suspicion:
    """Judge the faces.

    Args:
        table: The faceset.
        vectors: (N, 128) embeddings, rows of NaN where there is none; None without dlib.
        why_not: With None, why there are none.
    """
    suspects = {suspect.index: suspect for suspect in by_landmarks(table.rows)}
    known = 0 if vectors is None else int(np.isfinite(vectors).all(axis=1).sum())
    landmarks = "landmarks that make no head, do not fit their crop, or look steeply up or down"
    if vectors is None:
        return _suspicion(suspects, f"Judged by {landmarks}; other people cannot be told this way. {why_not}")
    method = f"Judged by who it is (dlib's face network, {known} of {len(table)} faces) and by {landmarks}."
    too_few = []
    persons = np.array([item.person for item in table.items])
    for person in dict.fromkeys(persons.tolist()):
        members = np.flatnonzero(persons == person)
        members = members[np.isfinite(vectors[members]).all(axis=1)]
        if len(members) < FEWEST:
            too_few.append(person)
            continue
        for suspect in by_embedding(members, vectors[members]):
            suspects[suspect.index] = suspect
    if too_few and len(table):
        method += f" With fewer than {FEWEST} faces of a person, strangers cannot be told from it."
    return _suspicion(suspects, method, known)


def _suspicion(suspects: dict[int, Suspect], method: str, known: int = 0) -> Suspicion:
    ordered = sorted(suspects.values(), key=lambda suspect: (-suspect.weight, suspect.index))
    return Suspicion(ordered, method.strip(), known)


def by_landmarks(rows: np.ndarray) -> list[Suspect]:
    """Faces whose landmarks are far from those of a head, or from their own set's."""
    errors, misfits, pitches = (
        rows[name].astype(np.float64) for name in ("landmark_error", "misfit", "pitch")
    )
    error_limit, misfit_limit = _limit(errors, LEAST_ERROR), _limit(misfits, LEAST_MISFIT)
    found = []
    for index in np.flatnonzero(
        (errors > error_limit) | (misfits > misfit_limit) | (np.abs(pitches) > STEEPEST)
    ).tolist():
        reasons = []
        if errors[index] > error_limit:
            reasons.append("its landmarks make no head")
        if misfits[index] > misfit_limit:
            reasons.append("its landmarks do not fit its crop")
        if abs(pitches[index]) > STEEPEST:
            reasons.append(f"looks {'up' if pitches[index] > 0 else 'down'} by {abs(pitches[index]):.0f}°")
        weight = max(
            errors[index] / error_limit, misfits[index] / misfit_limit, abs(pitches[index]) / STEEPEST
        )
        found.append(Suspect(index, ", ".join(reasons), float(weight)))
    return found


def _limit(values: np.ndarray, least: float) -> float:
    """Beyond which a value is an outlier among the others."""
    if not len(values):
        return least
    median = float(np.median(values))
    return max(least, median + DEVIATIONS * _MAD_TO_SIGMA * float(np.median(np.abs(values - median))))


def by_embedding(members: np.ndarray, vectors: np.ndarray) -> list[Suspect]:
    """All but the person with the most faces.

    Args:
        members: (N,) indices of the faces.
        vectors: (N, 128) of these.
    """
    persons, odd = group_persons(vectors)
    if not persons:
        return []
    middle = vectors[persons[0]].mean(axis=0)
    found = []
    for number, faces in enumerate([*persons[1:], odd]):
        is_person = number < len(persons) - 1
        for face in faces.tolist():
            distance = float(np.linalg.norm(vectors[face] - middle))
            other = f"seems to be another person, with {len(faces)} faces here"
            reason = (
                other if is_person else "unlike the others: someone else, no face, or too blurred to tell"
            )
            found.append(Suspect(int(members[face]), f"{reason} (distance {distance:.2f})", 10 + distance))
    return found


def embed_some(table: FaceTable, order: np.ndarray, watch: Watch) -> np.ndarray:
    """Embeddings of all faces, or of as many as `MOST_EMBEDDED`: evenly spread, then round the odd ones.

    Args:
        table: The faceset.
        order: (N,) indices, the order in time.
        watch: Shows the progress.

    Returns:
        (N, 128) float32 with rows of NaN for faces left out.

    Raises:
        SwapError: dlib or its models are not installed; says how to install them.
    """
    _load()  # says what is missing before any process is started
    vectors = np.full((len(table), 128), np.nan, np.float32)
    first = order
    if len(order) > MOST_EMBEDDED:
        places = np.linspace(0, len(order) - 1, int(FIRST_SHARE * MOST_EMBEDDED)).astype(np.int64)
        first = order[places]
    _embed_into(vectors, table, first, watch)
    if len(first) < len(order):
        _embed_into(vectors, table, _surroundings(table, vectors, order), watch)
    return vectors


def _surroundings(table: FaceTable, vectors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The faces nearest in time to the suspects that were found so far, as many as there is room for."""
    suspects = {one.index for one in find_suspects(table, vectors).suspects}
    odd = np.flatnonzero(np.isin(order, list(suspects)))
    unseen = np.flatnonzero(np.isnan(vectors[order, 0]))
    if not len(odd) or not len(unseen):
        return np.zeros(0, np.int64)
    after = np.searchsorted(odd, unseen)
    gaps = np.minimum(
        np.abs(unseen - odd[np.minimum(after, len(odd) - 1)]), np.abs(unseen - odd[np.maximum(after - 1, 0)])
    )
    room = MOST_EMBEDDED - int(FIRST_SHARE * MOST_EMBEDDED)
    return order[np.sort(unseen[np.argsort(gaps, kind="stable")[:room]])]


def _embed_into(vectors: np.ndarray, table: FaceTable, faces: np.ndarray, watch: Watch) -> None:
    """Fill in the rows of these faces; dlib keeps Python's lock, so there is a process for each processor."""
    items = [table.items[index] for index in faces.tolist()]
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    done = 0
    with watch("Telling people apart", len(items), "face") as counter:
        if len(items) <= _FEW or cpu_count() == 1:
            results = map(_embed, chunks)
            for rows in results:
                vectors[faces[done : done + len(rows)]] = rows
                done += len(rows)
                counter.update(len(rows))
            return
        with ProcessPoolExecutor(cpu_count(), get_context("spawn"), initializer=_load) as pool:
            for rows in in_order(pool, _embed, chunks, 4 * cpu_count()):
                vectors[faces[done : done + len(rows)]] = rows
                done += len(rows)
                counter.update(len(rows))


def _load() -> None:
    global _embedder
    if _embedder is None:
        from facelib.embedding import FaceEmbedder

        _embedder = FaceEmbedder()


def _embed(items: list[StoredImage]) -> np.ndarray:
    """(N, 128) float32; NaN for what cannot be read any more."""
    from facelib import decode_face
    from facelib.embedding import LENGTH

    rows = np.full((len(items), LENGTH), np.nan, np.float32)
    for number, item in enumerate(items):
        try:
            image, metadata = decode_face(item.read(), item.name)
            rows[number] = _embedder.embed(image, [metadata.landmarks])[0]
        except SampleError:
            continue
    return rows
