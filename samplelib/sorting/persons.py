"""Which faces show the same person: groups by embedding, and who stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from core.errors import AlignmentError
from core.system import cpu_count
from facelib.people import cluster, embedding_distances
from facelib.tracking import Track
from samplelib.sorting.look import Watch, in_order, look

NEAR = 0.25  # faces this near to one face are one group from the start: far below what separates two people
SAME_PERSON = 0.5  # mean distance of two groups up to which they are one person
STRANGER = 0.6  # from the middle of its person; further away a face is odd (dlib's own threshold)
FEWEST = 3  # faces, and
LEAST_SHARE = 0.005  # of all faces make a person; fewer are odd
_FEW = 24  # faces that are not worth the start of processes
_CHUNK = 8

Embedding = tuple[np.ndarray | None, str | None, str]  # the vector, the face's source frame, what is wrong

_embedder = None


def embed_faces(paths: Sequence[Path], watch: Watch) -> list[Embedding]:
    """The embedding of each face, its source frame, and why there is none.

    dlib keeps Python's lock while it computes, so there is a process for each processor.

    Raises:
        SwapError: dlib or its models are not installed; says how to install them.
    """
    _load()  # says what is missing before any process is started
    chunks = [list(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    results: list[Embedding] = []
    with watch("Telling people apart", len(paths), "face") as counter:
        if len(paths) <= _FEW or cpu_count() == 1:
            for chunk in chunks:
                results += _embed(chunk)
                counter.update(len(chunk))
            return results
        with ProcessPoolExecutor(cpu_count(), get_context("spawn"), initializer=_load) as pool:
            for values in in_order(pool, _embed, chunks, 4 * cpu_count()):
                results += values
                counter.update(len(values))
    return results


def _load() -> None:
    global _embedder
    if _embedder is None:
        from facelib.embedding import FaceEmbedder

        _embedder = FaceEmbedder()


def _embed(paths: list[Path]) -> list[Embedding]:
    results: list[Embedding] = []
    for path in paths:
        found = look(path, picture=True)
        if found.metadata is None or found.image is None:
            results.append((None, None, found.problem))
            continue
        source = found.metadata.source_filename
        try:
            results.append((_embedder.embed(found.image, [found.metadata.landmarks])[0], source, ""))
        except AlignmentError as err:
            results.append((None, source, f"{path.name}: {err}"))
    return results


def group_persons(vectors: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Faces by person.

    Near faces are grouped first, so that 100,000 of them become some hundreds of groups; those are joined to
    persons by average linkage (`facelib.people.cluster`). Faces further from the middle of their person than
    two pictures of one person are, and persons of next to no faces, are odd.

    Args:
        vectors: (N, 128) embeddings.

    Returns:
        Indices of each person's faces, the most typical first; the person with the most faces first. And
        those of the odd ones, the least odd first.
    """
    if not len(vectors):
        return [], np.zeros(0, np.int64)
    vectors = np.asarray(vectors, np.float32)
    groups = _near_groups(vectors)
    tracks = [_as_track(number, group, vectors) for number, group in enumerate(groups)]
    found = [np.concatenate([groups[track.id] for track in person])
             for person in cluster(tracks, SAME_PERSON)]  # fmt: skip
    fewest = max(FEWEST, LEAST_SHARE * len(vectors))
    persons, odd = [], []
    for faces in sorted(found, key=lambda faces: (-len(faces), faces.min())):
        if len(faces) < fewest:
            odd.append(faces)
            continue
        distances = np.linalg.norm(vectors[faces] - vectors[faces].mean(axis=0), axis=1)
        ranks = np.argsort(distances, kind="stable")
        near = distances[ranks] <= STRANGER
        persons.append(faces[ranks[near]])
        odd.append(faces[ranks[~near]])
    lonely = np.concatenate(odd) if odd else np.zeros(0, np.int64)
    if persons and len(lonely):
        middles = np.array([vectors[faces].mean(axis=0) for faces in persons])
        distances = embedding_distances(vectors[lonely], middles).min(axis=1)
        lonely = lonely[np.argsort(distances, kind="stable")]
    return persons, lonely


def _near_groups(vectors: np.ndarray) -> list[np.ndarray]:
    """Every face with all faces near to it that are in no group yet; (K,) indices each."""
    numbers, rest, squares = np.arange(len(vectors)), vectors, (vectors**2).sum(axis=1)
    free = np.ones(len(vectors), bool)
    groups, at = [], 0
    while free.any():
        at += int(free[at:].argmax())
        near = free & (squares + squares[at] - 2 * (rest @ rest[at]) <= NEAR**2)
        near[at] = True
        groups.append(numbers[near])
        free &= ~near
        if free.sum() < 0.8 * len(free):  # go on with what is left
            numbers, rest, squares, at = numbers[free], rest[free], squares[free], 0
            free = np.ones(len(numbers), bool)
    return groups


def _as_track(number: int, faces: np.ndarray, vectors: np.ndarray) -> Track:
    """A group in the form that persons are made of; no two of them share a frame."""
    count = len(faces)
    return Track(number, faces.astype(np.int64), [], [False] * count, [], vectors[faces].mean(axis=0), count)
