"""Face types under each of their names."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from facelib.face_types import FACE_TYPES, face_type_from_number, face_type_from_short, face_type_spec


@pytest.mark.parametrize("name", FACE_TYPES)
def test_every_type_is_found_by_name_number_and_short_name(name):
    spec = FACE_TYPES[name]
    assert face_type_spec(name.upper()) is spec
    assert face_type_from_number(spec.number) == name
    if spec.short:
        assert face_type_from_short(spec.short) == name


def test_types_show_more_the_larger_their_number():
    paddings = [spec.padding for spec in sorted(FACE_TYPES.values(), key=lambda spec: spec.number)]
    assert paddings[:-1] == sorted(paddings[:-1])  # mark_only, the last, has no crop


def test_unknown_types_are_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="whole_face"):
        face_type_spec("wf")
    with pytest.raises(UsageError, match="wf, head"):
        face_type_from_short("whole_face")
    with pytest.raises(UsageError, match="17"):
        face_type_from_number(17)
