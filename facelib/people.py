"""Who is who: tracks become persons, and faces are compared with pictures of one person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import FileFormatError, SampleError, UsageError
from facelib.tracking import Track

if TYPE_CHECKING:
    from facelib.embedding import FaceEmbedder
    from facelib.pipeline import Pipeline

MATCH_THRESHOLD = 0.5  # see `match`
# Of faces this small, blown up for the network, strangers come as near as 0.465 (28 people on photos).
SMALL_EYES = 45.0  # pixels between the outer corners of the eyes
SMALL_STRICTNESS = 0.9  # of the threshold
SAME_PERSON = 0.5  # mean distance of two groups of tracks up to which they are one person; dlib's own choice
LARGEST_MATRIX = 3000  # tracks compared each with each; shorter ones then join the person they are nearest to


def cluster(tracks: Sequence[Track], threshold: float = SAME_PERSON) -> list[list[Track]]:
    """Group tracks into persons by embedding.

    Agglomerative, average linkage weighted by the embeddings a track rests on; two tracks seen in one frame
    are never one person. Tracks without an embedding stay alone: then a person is what position alone links.

    Args:
        tracks: Of one clip or of several with frame numbers of their own.
        threshold: Mean distance of embeddings up to which groups are joined.

    Returns:
        Persons by screen time, longest first; each person's tracks in order of their first frames.
    """
    known = [track for track in tracks if track.embedding is not None]
    known.sort(key=lambda track: (-track.seen, track.id))
    together = _seen_together(known)
    first, rest = known[:LARGEST_MATRIX], known[LARGEST_MATRIX:]
    groups = _agglomerate(first, together, threshold)
    groups += _join_nearest(groups, rest, together, threshold)
    persons = groups + [[track] for track in tracks if track.embedding is None]
    for person in persons:
        person.sort(key=lambda track: (int(track.frames[0]), track.id))
    persons.sort(key=lambda p: (-sum(t.seen for t in p), int(p[0].frames[0]), p[0].id))
    return persons


def _seen_together(tracks: Iterable[Track]) -> dict[int, set[int]]:
    """For each track's id, those of the tracks seen in a frame with it."""
    tracks = list(tracks)
    starts = sorted((int(track.frames[0]), int(track.frames[-1]), n) for n, track in enumerate(tracks))
    frames: dict[int, set[int]] = {}
    together: dict[int, set[int]] = defaultdict(set)
    current: list[tuple[int, int]] = []  # (last frame, number) of tracks that may still overlap

    def seen(number: int) -> set[int]:
        if number not in frames:
            track = tracks[number]
            frames[number] = set(track.frames[~np.array(track.filled, bool)].tolist())
        return frames[number]

    for start, end, number in starts:
        for last, other in [pair for pair in current if pair[0] < start]:
            current.remove((last, other))
            frames.pop(other, None)
        for _, other in current:
            if not seen(number).isdisjoint(seen(other)):
                together[tracks[number].id].add(tracks[other].id)
                together[tracks[other].id].add(tracks[number].id)
        current.append((end, number))
    return together


def _agglomerate(tracks: list[Track], together: dict[int, set[int]], threshold: float) -> list[list[Track]]:
    """Join the nearest two groups until none are within the threshold."""
    if not tracks:
        return []
    vectors = np.array([track.embedding for track in tracks], np.float64)
    weights = np.array([max(track.samples, 1) for track in tracks], np.float64)
    distances = embedding_distances(vectors, vectors)
    numbers = {track.id: number for number, track in enumerate(tracks)}
    for track in tracks:
        for other in together[track.id]:
            if other in numbers:
                distances[numbers[track.id], numbers[other]] = np.inf
    np.fill_diagonal(distances, np.inf)
    groups = [[track] for track in tracks]
    nearest = distances.argmin(axis=1)
    least = distances[np.arange(len(tracks)), nearest]
    while True:
        one = int(least.argmin())
        if not least[one] <= threshold:
            return [group for group in groups if group]
        other = int(nearest[one])
        groups[one] += groups[other]
        groups[other] = []
        joined = weights[one] * distances[one] + weights[other] * distances[other]
        joined /= weights[one] + weights[other]
        weights[one] += weights[other]
        joined[[one, other]] = np.inf
        distances[one], distances[:, one] = joined, joined
        distances[other], distances[:, other] = np.inf, np.inf
        stale = np.isin(nearest, (one, other)) | (np.arange(len(groups)) == one)
        closer = (joined < least) & ~stale
        nearest[closer], least[closer] = one, joined[closer]
        rows = np.flatnonzero(stale)
        nearest[rows] = distances[rows].argmin(axis=1)
        least[rows] = distances[rows, nearest[rows]]


def _join_nearest(
    groups: list[list[Track]], tracks: list[Track], together: dict[int, set[int]], threshold: float
) -> list[list[Track]]:
    """Add each track to the nearest group that it may join, in place; returns those left, one by one."""
    if not tracks:
        return []
    middles = np.array(
        [
            np.average([t.embedding for t in group], axis=0, weights=[max(t.samples, 1) for t in group])
            for group in groups
        ]
    )
    members = [{track.id for track in group} for group in groups]
    alone = []
    for track in tracks:
        distances = np.linalg.norm(middles - track.embedding, axis=1)
        for number in np.argsort(distances):
            if distances[number] > threshold:
                alone.append([track])
                break
            if together[track.id].isdisjoint(members[number]):
                groups[number].append(track)
                members[number].add(track.id)
                break
        else:
            alone.append([track])
    return alone


def embedding_distances(embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) float64 Euclidean distances between (N, K) and (M, K); NaN where a row is unknown."""
    embeddings, others = np.asarray(embeddings, np.float64), np.asarray(others, np.float64)
    squares = (embeddings**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None]
    return np.sqrt(np.maximum(squares - 2 * embeddings @ others.T, 0))


def match(
    embeddings: np.ndarray,
    references: np.ndarray,
    threshold: float | np.ndarray = MATCH_THRESHOLD,
    *,
    only_best: bool = True,
) -> np.ndarray:
    """Which faces are the person of the reference pictures.

    The distance is the one to the nearest reference. dlib's own threshold of 0.6 is for pictures of adults a
    good hundred pixels wide; of the strangers in a group photo some pairs are as near as 0.47.

    Args:
        embeddings: (N, 128) of the faces of one image; rows of NaN match nobody.
        references: (R, 128) of the person, at least one.
        threshold: Largest distance, or (N,) one for each face; see `thresholds`.
        only_best: Only the nearest face: a person is in a picture once.

    Returns:
        (N,) bool.
    """
    if len(embeddings) == 0:
        return np.zeros(0, bool)
    distances = reference_distances(embeddings, references)
    same = distances <= threshold
    if only_best and same.any():
        same &= np.arange(len(same)) == np.nanargmin(distances)
    return same


def thresholds(landmarks: Sequence[np.ndarray], threshold: float = MATCH_THRESHOLD) -> np.ndarray:
    """(N,) largest distance for each face of (68, 2) landmarks in pixels: small ones must be nearer."""
    eyes = np.array([np.linalg.norm(points[36] - points[45]) for points in landmarks])
    return np.where(eyes < SMALL_EYES, SMALL_STRICTNESS * threshold, threshold)


def reference_distances(embeddings: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(N,) distance of each face to the nearest reference; infinite where the face's row is NaN."""
    if len(references) == 0:
        raise ValueError("no references")
    return np.nan_to_num(embedding_distances(embeddings, references).min(axis=1), nan=np.inf)


def match_tracks(
    tracks: Sequence[Track], references: np.ndarray, threshold: float = MATCH_THRESHOLD
) -> list[Track]:
    """The tracks of the person of the reference pictures: all of those that `cluster` puts together with one.

    Whole persons are compared, not frames: a blurred face among clear ones stays with its person. One who is
    small throughout must be nearer; see `thresholds`.
    """
    chosen = []
    for person in cluster(tracks):
        known = [track for track in person if track.embedding is not None]
        if known:
            distances = reference_distances(np.array([track.embedding for track in known]), references)
            limits = [np.median(thresholds([f.landmarks for f in t.faces], threshold)) for t in known]
            weights = [max(track.samples, 1) for track in known]
            if np.average(distances, weights=weights) <= np.average(limits, weights=weights):
                chosen += person
    return sorted(chosen, key=lambda track: track.id)


def load_references(
    path: Path, pipeline: Pipeline, embedder: FaceEmbedder, say: Callable[[str], None] = print
) -> np.ndarray:
    """The embeddings of the pictures of one person.

    Aligned faces with metadata are taken as they are; in other pictures the face is looked for. Where a
    picture shows several, the one is taken that the pictures with a single face agree on.

    Args:
        path: An image or a folder of images.
        pipeline: Finds the faces.
        embedder: Makes the embeddings.
        say: Told about pictures that are left out.

    Returns:
        (R, 128) float32, R at least 1.

    Raises:
        UsageError: There is nothing at `path`, or no usable face, or nothing tells which face is meant.
    """
    from core.paths import list_images

    path = path.expanduser()
    if not path.exists():
        raise UsageError(f"{path}: pictures of the person are wanted here, and there is nothing")
    images = list_images(path) if path.is_dir() else [path]
    single, crowds = [], {}
    for image in images:
        try:
            rows = _reference_rows(image, pipeline, embedder)
        except SampleError as err:
            say(f"left out: {err}")
            continue
        if len(rows) == 0:
            say(f"left out: {image}: no face was found")
        elif len(rows) == 1:
            single.append(rows[0])
        else:
            crowds[image] = rows
    if not single and crowds:
        image, rows = next(iter(crowds.items()))
        raise UsageError(f"{image}: shows {len(rows)} faces; cut out the one that is meant")
    if not single:
        raise UsageError(f"{path}: no picture here shows a face; give clear pictures of the person")
    references = np.array(single, np.float32)
    for image, rows in crowds.items():
        chosen = match(rows, np.array(single), MATCH_THRESHOLD)
        if chosen.any():
            references = np.concatenate([references, rows[chosen]])
        else:
            say(f"left out: {image}: none of its {len(rows)} faces is the person of the other pictures")
    return references


def _reference_rows(image: Path, pipeline: Pipeline, embedder: FaceEmbedder) -> np.ndarray:
    """(N, 128) embeddings of the faces of a picture: of the one it is, or of those found in it."""
    from core.imageio import read_image
    from facelib.face_jpeg import read_face

    if image.suffix.lower() in (".jpg", ".jpeg"):
        try:
            picture, metadata = read_face(image)
        except FileFormatError:
            pass  # a plain photo, or read_image will say what is wrong with it
        else:
            return embedder.embed(picture, [metadata.landmarks])
    picture = read_image(image)
    return embedder.embed(picture, [face.landmarks for face in pipeline.faces(picture)])
