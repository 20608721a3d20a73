"""Who is who: clustering tracks, comparing faces with references, and the real photos and clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.errors import UsageError
from facelib.detected import DetectedFace
from facelib.dlib_models import available
from facelib.face_jpeg import write_face
from facelib.metadata import FaceMetadata
from facelib.people import cluster, load_references, match, match_tracks, thresholds
from facelib.tracking import FrameFaces, Track, drop_short, fill_gaps, link, picture_signature

needs_dlib = pytest.mark.skipif(
    not available(), reason="needs the optional packages of requirements-dlib.txt"
)
POINTS = np.zeros((68, 2), np.float32)


def somebody(number: int, tremble: float = 0.0, seed: int = 0) -> np.ndarray:
    row = np.random.default_rng(1000 + number).normal(size=128)
    noise = np.random.default_rng(seed).normal(size=128) / np.sqrt(128)
    return (0.58 * row / np.linalg.norm(row) + tremble * noise).astype(np.float32)


def track(number: int, start: int, count: int, embedding: np.ndarray | None) -> Track:
    faces = [DetectedFace((0, 0, 9, 9), POINTS, 0.9)] * count
    frames = np.arange(start, start + count)
    return Track(number, frames, faces, [False] * count, [0] * count, embedding, min(count, 64))


def ids(persons) -> list[list[int]]:
    return [[t.id for t in person] for person in persons]


def test_persons_are_gathered_and_ordered_by_screen_time():
    tracks = [track(n, 50 * n, 20 + n, somebody(n % 3, 0.25, n)) for n in range(9)]
    assert ids(cluster(tracks)) == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]


def test_two_in_one_frame_are_two_persons_however_alike():
    twins = [track(0, 0, 30, somebody(0)), track(1, 29, 30, somebody(0)), track(2, 59, 10, somebody(0))]
    assert ids(cluster(twins)) in ([[0, 2], [1]], [[1, 2], [0]], [[1], [0, 2]], [[0], [1, 2]])
    apart = [track(0, 0, 29, somebody(0)), track(1, 29, 30, somebody(0))]
    assert ids(cluster(apart)) == [[0, 1]]


def test_a_filled_face_does_not_keep_tracks_apart():
    first, second = track(0, 0, 10, somebody(0)), track(1, 9, 10, somebody(0))
    first.filled[-1] = True
    assert ids(cluster([first, second])) == [[0, 1]]


def test_tracks_without_embeddings_stay_alone():
    assert ids(cluster([track(0, 0, 5, None), track(1, 10, 9, None), track(2, 30, 7, somebody(0))])) == [
        [1],
        [2],
        [0],
    ]
    assert cluster([]) == []


def test_thousands_of_tracks_are_gathered(monkeypatch):
    from facelib import people

    monkeypatch.setattr(people, "LARGEST_MATRIX", 300)  # the rest joins afterwards
    tracks = [track(n, 20 * n, 5 + n % 7, somebody(n % 10, 0.25, n)) for n in range(800)]
    persons = cluster(tracks)
    assert len(persons) == 10
    assert all(len({t.id % 10 for t in person}) == 1 for person in persons)
    for person in persons:
        assert [t.id for t in person] == sorted(t.id for t in person)


def test_match_takes_the_nearest_below_the_threshold():
    faces = np.array([somebody(0, 0.3, 1), somebody(0, 0.1, 2), somebody(1), np.full(128, np.nan)])
    references = np.array([somebody(5), somebody(0)])
    assert match(faces, references).tolist() == [False, True, False, False]
    assert match(faces, references, only_best=False).tolist() == [True, True, False, False]
    assert match(faces, references, threshold=0.01).tolist() == [False] * 4
    assert match(np.full((2, 128), np.nan), references).tolist() == [False, False]
    assert match(np.zeros((0, 128)), references).tolist() == []
    with pytest.raises(ValueError, match="no references"):
        match(faces, np.zeros((0, 128)))


def test_matching_tracks_bring_the_rest_of_their_person_along():
    tracks = [
        track(0, 0, 90, somebody(0)),
        track(1, 100, 5, somebody(0, 0.4, 3)),
        track(2, 0, 90, somebody(1)),
        track(3, 200, 9, None),
    ]
    assert [t.id for t in match_tracks(tracks, np.array([somebody(0, 0.2, 9)]))] == [0, 1]


class FakePipeline:
    """Sees as many faces as the picture's first pixel says."""

    def faces(self, image):
        return [DetectedFace((0, 0, 9, 9), POINTS + n, 0.9) for n in range(int(image[0, 0, 0]))]


class FakeEmbedder:
    """Who it is says the second pixel; further faces of a picture are the following numbers."""

    def embed(self, image, landmarks):
        rows = [somebody(int(image[0, 1, 0]) + n) for n in range(len(landmarks))]
        return np.array(rows, np.float32).reshape(-1, 128)


def picture(path, faces: int, who: int) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[0, 0], image[0, 1] = faces, who
    cv2.imwrite(str(path), image)


def test_references_are_read_from_an_image_or_a_folder(tmp_path):
    said = []

    def load(path):
        return load_references(path, FakePipeline(), FakeEmbedder(), said.append)

    picture(tmp_path / "one.png", 1, 3)
    np.testing.assert_allclose(load(tmp_path / "one.png"), [somebody(3)])
    folder = tmp_path / "folder"
    folder.mkdir()
    picture(folder / "1 alone.png", 1, 3)
    picture(folder / "2 group.png", 3, 2)  # the second of them is number 3
    picture(folder / "3 others.png", 2, 7)
    picture(folder / "4 nobody.png", 0, 0)
    (folder / "5 broken.png").write_bytes(b"\x89PNG")
    np.testing.assert_allclose(load(folder), [somebody(3)] * 2)
    assert len(said) == 3 and all("left out" in line for line in said)


def test_references_that_say_nothing_are_refused(tmp_path):
    def load(path):
        return load_references(path, FakePipeline(), FakeEmbedder(), lambda line: None)

    with pytest.raises(UsageError, match="nothing"):
        load(tmp_path / "missing.png")
    picture(tmp_path / "two.png", 2, 0)
    with pytest.raises(UsageError, match=r"two\.png: shows 2 faces; cut out"):
        load(tmp_path / "two.png")
    picture(tmp_path / "none.png", 0, 0)
    with pytest.raises(UsageError, match="no picture here shows a face"):
        load(tmp_path / "none.png")


def test_aligned_faces_serve_as_references_without_detection(tmp_path):
    image = np.full((64, 64, 3), 9, np.uint8)
    image[:8, :8] = 0  # the fake pipeline sees nobody
    points = np.float32(np.random.default_rng(0).uniform(0, 64, (68, 2)))
    metadata = FaceMetadata(face_type="whole_face", landmarks=points, source_filename="a.png")
    write_face(tmp_path / "face.jpg", image, metadata)
    assert len(load_references(tmp_path / "face.jpg", FakePipeline(), FakeEmbedder())) == 1


@pytest.fixture(scope="module")
def tools():
    from facelib.embedding import FaceEmbedder
    from facelib.pipeline import Pipeline

    return Pipeline("blazeface", "facemesh"), FaceEmbedder()


@pytest.mark.slow
@needs_dlib
@pytest.mark.parametrize("name", ["group_1", "group_2"])
def test_everybody_in_a_group_is_told_apart(shared_data, tools, tmp_path, name):
    pipeline, embedder = tools
    image = cv2.imread(str(shared_data / "groups" / f"{name}.jpg"))
    faces = pipeline.faces(image)
    rows = embedder.embed(image, [f.landmarks for f in faces])
    tracks = link([FrameFaces(0, faces, rows)])
    assert len(cluster(tracks)) == len(faces)
    found = 0
    for number, f in enumerate(faces):
        left, top, right, bottom = f.rect
        margin = (right - left) // 2
        corner = max(0, left - margin), max(0, top - margin)
        crop = image[corner[1] : bottom + margin, corner[0] : right + margin]
        alone = pipeline.faces(crop)
        if len(alone) != 1 or np.abs(alone[0].landmarks + corner - f.landmarks).mean() > 5:
            continue  # a neighbour is in the cut-out as well
        cv2.imwrite(str(tmp_path / "one.png"), crop)
        references = load_references(tmp_path / "one.png", pipeline, embedder, lambda line: None)
        found += 1
        assert np.flatnonzero(match(rows, references)).tolist() == [number]
    assert found >= 0.5 * len(faces)


def side_by_side(left: np.ndarray, right: np.ndarray, lefts: float, rights: float) -> np.ndarray:
    """Two pictures laid into a wide one at these x, the second in front, with soft oval edges."""
    height, width = left.shape[:2]
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2 + 20), (150, 225), 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 6)[..., None]
    canvas = np.full((height, 1240, 3), (150, 155, 160), np.uint8)
    for picture_, x in ((left, round(lefts)), (right, round(rights))):
        part = canvas[:, x : x + width]
        part[:] = part * (1 - mask) + picture_ * mask
    return canvas


@pytest.mark.slow
@needs_dlib
@pytest.mark.parametrize("how", ["sliding past each other", "by cuts"])
def test_two_men_who_swap_places_stay_two_persons(shared_data, tools, how):
    from core.video import decode_frames, probe

    pipeline, embedder = tools
    clips = [decode_frames(probe(shared_data / "clips" / f"person_{c}.mp4")) for c in "ab"]
    frames, truth = [], []
    for t, pair in zip(range(0, 120), zip(*clips), strict=False):
        if t % 2:
            continue
        step = np.clip((t - 20) / 80, 0, 1)
        share = step * step * (3 - 2 * step) if how.startswith("slid") else float(t // 30 % 2)
        places = 20 + 720 * share, 740 - 720 * share
        image = side_by_side(*(p[:, :, ::-1] for p in pair), *places)
        faces = pipeline.faces(image)
        rows = embedder.embed(image, [f.landmarks for f in faces])
        frames.append(FrameFaces(t // 2, faces, rows, picture_signature(image)))
        truth.append([x + 240 for x in places])
    persons = cluster(drop_short(fill_gaps(link(frames)), 3))
    assert len(persons) == 2
    who = []
    for person in persons:
        seen = set()
        for t in person:
            for index, f in zip(t.frames, t.faces, strict=True):
                near = [abs(float(f.landmarks[27:36, 0].mean()) - x) for x in truth[index]]
                if abs(near[0] - near[1]) > 40:  # else they stand behind each other
                    seen.add(int(np.argmin(near)))
        who.append(seen)
    assert sorted(who, key=min) == [{0}, {1}]
    assert min(sum(t.seen for t in person) for person in persons) >= 45


def test_small_faces_must_be_nearer():
    large, small = np.zeros((68, 2)), np.zeros((68, 2))
    large[45, 0], small[45, 0] = 60, 20
    limits = thresholds([large, small], 0.5)
    assert np.allclose(limits, [0.5, 0.45]) and thresholds([]).shape == (0,)
    faces = np.zeros((2, 128), np.float32)
    faces[:, 0] = 0.47
    assert match(faces, np.zeros((1, 128)), limits, only_best=False).tolist() == [True, False]


def test_a_person_who_is_small_throughout_must_be_nearer():
    def seen(eyes: float) -> Track:
        points = POINTS.copy()
        points[45, 0] = eyes
        one = track(0, 0, 90, somebody(0))
        one.faces[:] = [DetectedFace((0, 0, 9, 9), points, 0.9)] * 90
        return one

    reference = somebody(0)[None].copy()
    reference[0, 0] += 0.48
    assert [t.id for t in match_tracks([seen(60)], reference, 0.5)] == [0]
    assert match_tracks([seen(20)], reference, 0.5) == []


@pytest.mark.slow
@needs_dlib
def test_one_face_of_a_group_is_found_in_no_stranger(shared_data, tools):
    """Each face of one photo, looked for in the other, where none of these people is."""
    pipeline, embedder = tools
    found = []
    for name in ("group_2", "group_1"):
        image = cv2.imread(str(shared_data / "groups" / f"{name}.jpg"))
        landmarks = [face.landmarks for face in pipeline.faces(image)]
        found.append((landmarks, embedder.embed(image, landmarks)))
    (_, references), (landmarks, strangers) = found
    assert len(references) >= 8 and len(strangers) >= 20
    for reference in references:
        assert not match(strangers, reference[None], thresholds(landmarks)).any()
