"""Face metadata: DFL's dict in and out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from core import safe_pickle
from core.errors import FileFormatError
from facelib.face_types import FACE_TYPES
from facelib.metadata import FaceMetadata, SegPoly, encode_xseg_mask, metadata_from_dict
from tests.facelib.faces import CASES, assert_same_metadata, example_metadata

pixels = st.floats(-4000, 4000, width=32)
points = st_numpy.arrays(np.float32, (68, 2), elements=pixels)
polygons = st.builds(
    SegPoly,
    st.booleans(),
    st_numpy.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=pixels),
)
records = st.builds(
    FaceMetadata,
    face_type=st.sampled_from(sorted(FACE_TYPES)),
    landmarks=points,
    source_filename=st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    source_rect=st.none() | st_numpy.arrays(np.int64, 4, elements=st.integers(-5000, 5000)),
    source_landmarks=st.none() | points,
    image_to_face_mat=st.none() | st_numpy.arrays(np.float64, (2, 3), elements=st.floats(-1e4, 1e4)),
    eyebrows_expand_mod=st.floats(0, 4),
    seg_ie_polys=st.lists(polygons, max_size=3).map(
        lambda polys: tuple(sorted(polys, key=lambda poly: not poly.include))
    ),
    xseg_mask=st.none() | st_numpy.arrays(np.uint8, st.integers(1, 50)),
    extra=st.dictionaries(
        st.sampled_from(["fanseg_mask", "relighted"]), st.booleans() | st.binary(max_size=9)
    ),
)


@settings(deadline=None)
@given(records)
def test_metadata_survives_its_file_format(metadata):
    data = safe_pickle.dumps(metadata.to_dict())
    assert_same_metadata(metadata_from_dict(safe_pickle.loads(data, "face"), "face"), metadata)


def test_dfls_tools_find_the_types_they_index_and_decode():
    fields = example_metadata().to_dict()
    assert type(fields["landmarks"]) is list and type(fields["landmarks"][0]) is list
    assert type(fields["source_landmarks"][67][1]) is float
    assert fields["source_rect"].dtype == np.int64 and fields["source_rect"].shape == (4,)
    assert fields["xseg_mask"].dtype == np.uint8
    assert fields["image_to_face_mat"].dtype == np.float64
    assert [poly["type"] for poly in fields["seg_ie_polys"]["polys"]] == [1, 0]
    assert fields["seg_ie_polys"]["polys"][0]["pts"].dtype == np.float32
    assert fields["relighted"] is True  # legacy keys are kept


def test_absent_values_are_not_written():
    fields = FaceMetadata("head", CASES["A"]).to_dict()
    assert sorted(fields) == ["face_type", "landmarks"]


def test_old_files_without_a_type_are_full_faces():
    metadata = metadata_from_dict({"landmarks": CASES["A"].tolist()}, "old.jpg")
    assert metadata.face_type == "full_face" and metadata.eyebrows_expand_mod == 1.0
    assert metadata.landmarks.dtype == np.float32 and metadata.seg_ie_polys == ()


def test_variants_that_dfl_and_its_forks_wrote_are_read():
    metadata = metadata_from_dict(
        {
            "face_type": "WHOLE_FACE",
            "landmarks": CASES["A"],  # ndarray, after the resize tool
            "source_rect": [1.7, 2, 3, 4],
            "xseg_mask": np.zeros((9, 1), np.uint8),  # OpenCV before 4.5
            "image_to_face_mat": [[1, 0, 0], [0, 1, 0]],
            "seg_ie_polys": [(0, [(1, 2), (3, 4), (5, 6)]), (1, np.zeros((4, 2)))],  # plain pairs
            "eyebrows_expand_mod": None,
        },
        "face",
    )
    assert metadata.face_type == "whole_face"
    assert metadata.source_rect.tolist() == [1, 2, 3, 4]
    assert metadata.xseg_mask.shape == (9,)
    assert [poly.include for poly in metadata.seg_ie_polys] == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        {"landmarks": None},
        {"landmarks": [[1, 2]] * 67},
        {"landmarks": [[1, float("nan")]] * 68},
        {"landmarks": [[1, 1e30]] * 68},
        {"landmarks": "landmarks"},
        {"landmarks": {"a": 1}},
        {"landmarks": [[1, 2], [3]] * 34},
        {"face_type": "mouth"},
        {"face_type": 4},
        {"source_filename": b"x"},
        {"source_rect": [1, 2, 3]},
        {"image_to_face_mat": np.zeros((3, 3))},
        {"eyebrows_expand_mod": float("inf")},
        {"eyebrows_expand_mod": [1]},
        {"xseg_mask": np.zeros((4, 4), np.float32)},
        {"xseg_mask": "mask"},
        {"seg_ie_polys": {"polys": [{"type": 1}]}},
        {"seg_ie_polys": {"polys": [{"type": 2, "pts": [[1, 2]]}]}},
        {"seg_ie_polys": {"polys": [{"type": 1, "pts": [[1, 2, 3]]}]}},
        {"seg_ie_polys": {"polys": [{"type": 1, "pts": [[1, 1e300]]}]}},
        {"seg_ie_polys": {"polys": 3}},
        {"seg_ie_polys": 3},
    ],
)
def test_unusable_values_are_refused_by_name(change):
    with pytest.raises(FileFormatError, match=r"^face\.jpg: "):
        metadata_from_dict({**example_metadata().to_dict(), **change}, "face.jpg")


def test_masks_fit_their_share_of_the_segment():
    yes = np.zeros((256, 256), np.float32)
    yes[64:192, 64:192] = 1
    metadata = FaceMetadata("head", CASES["A"]).with_xseg_mask(yes)
    np.testing.assert_array_equal(metadata.decode_xseg_mask(), yes[..., np.newaxis])
    noise = np.random.default_rng(0).random((512, 512, 1))
    encoded = encode_xseg_mask(noise)
    assert encoded.dtype == np.uint8 and encoded.size <= 50_000 and bytes(encoded[:2]) == b"\xff\xd8"
    assert replace(metadata, xseg_mask=encoded).decode_xseg_mask().shape == (512, 512, 1)
    assert metadata.with_xseg_mask(None).decode_xseg_mask() is None


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"noise"])
def test_damaged_masks_are_refused(content):
    metadata = replace(example_metadata(), xseg_mask=np.frombuffer(content, np.uint8))
    with pytest.raises(FileFormatError, match="XSeg mask is damaged"):
        metadata.decode_xseg_mask()


def test_polygons_include_first_and_then_cut_out():
    mask = example_metadata().draw_polys(np.zeros((64, 64, 1), np.float32))
    assert mask.shape == (64, 64, 1)
    assert mask[12, 15, 0] == 1 and mask[18, 25, 0] == 0 and mask[40, 5, 0] == 0
