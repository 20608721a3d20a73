"""Face types: how much of the head an aligned face shows, under the names and numbers of DFL's files."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UsageError

__all__ = ["FACE_TYPES", "FaceTypeSpec", "face_type_from_number", "face_type_from_short", "face_type_spec"]


@dataclass(frozen=True)
class FaceTypeSpec:
    """One face type. A type with a larger number shows at least what the smaller ones show."""

    number: int
    name: str  # as stored in files
    padding: float  # room around the mean face's square on each side, see `alignment.transform_mat`
    rotated: bool  # False: the crop stays parallel to the image's edges
    short: str | None  # as prompts call it; None where no prompt offers it


# Paddings are DFL's of 2020-04-04 and later; head crops from before that day used another padding and centre.
FACE_TYPES: dict[str, FaceTypeSpec] = {
    spec.name: spec
    for spec in (
        FaceTypeSpec(0, "half_face", 0.0, True, "h"),
        FaceTypeSpec(1, "midfull_face", 0.0675, True, "mf"),
        FaceTypeSpec(2, "full_face", 0.2109375, True, "f"),
        FaceTypeSpec(3, "full_face_no_align", 0.2109375, False, None),
        FaceTypeSpec(4, "whole_face", 0.40, True, "wf"),
        FaceTypeSpec(10, "head", 0.70, True, "head"),
        FaceTypeSpec(20, "head_no_align", 0.70, False, None),
        FaceTypeSpec(100, "mark_only", 0.0, False, None),  # the whole frame is stored, nothing is cropped
    )
}


def face_type_spec(name: str) -> FaceTypeSpec:
    """The face type of that name, in any case; UsageError where there is none."""
    spec = FACE_TYPES.get(name.lower())
    if spec is None:
        raise UsageError(f"unknown face type {name!r}; known are {', '.join(FACE_TYPES)}")
    return spec


def face_type_from_short(short: str) -> str:
    """`wf` -> `whole_face`; UsageError for a name that no prompt offers."""
    for spec in FACE_TYPES.values():
        if spec.short == short.lower():
            return spec.name
    shorts = ", ".join(spec.short for spec in FACE_TYPES.values() if spec.short)
    raise UsageError(f"unknown face type {short!r}; known are {shorts}")


def face_type_from_number(number: int) -> str:
    """4 -> `whole_face`, as packed facesets store it; UsageError for an unknown number."""
    for spec in FACE_TYPES.values():
        if spec.number == number:
            return spec.name
    raise UsageError(f"unknown face type number {number}")
