"""What the numbers mean, in sentences: of one faceset, and of a source for a destination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samplelib.report.coverage import (
    BRIGHTNESS_SLACK,
    ENOUGH,
    LIGHT_SLACK,
    REACH,
    PoseCoverage,
    RangeCoverage,
    cover_poses,
    cover_range,
)
from samplelib.report.duplicates import find_duplicates, group_duplicates, order_in_time
from samplelib.report.measure import FaceTable
from samplelib.report.statistics import CELL, Counts, count, spread
from samplelib.report.suspects import Suspicion
from samplelib.report.wording import counted, direction, percent

GOOD, NOTE, BAD = "good", "note", "bad"
FEW_FACES = 200
SMALL_SHARE = 0.1  # of the faces, from which smallness is worth a word
SHOWN_DIRECTIONS = 5
DARKER = 25.0  # grey levels between two medians that are worth a word
TINT = 6.0  # units of Lab between two mean colours that are worth a word: a difference seen at a glance
SMALLER = 0.8  # of the destination's size in its film
SOFTER = 0.1  # of sharpness
BLURRED = 0.15  # sharpness up to which a face has next to no sharp edge


@dataclass(frozen=True)
class Finding:
    """One sentence with its weight: good, note, bad."""

    level: str
    text: str


@dataclass(frozen=True, eq=False)
class Study:
    """A faceset with all that was found out about it."""

    title: str
    table: FaceTable
    counts: Counts
    suspicion: Suspicion
    order: np.ndarray  # (N,) indices in time
    leader: np.ndarray  # (N,) see `find_duplicates`
    groups: list[np.ndarray]  # of faces next to identical

    @property
    def spare(self) -> int:
        """Faces that others next to identical stand for."""
        return sum(len(group) - 1 for group in self.groups)

    @property
    def distinct(self) -> int:
        """Faces that differ and are no suspects."""
        suspects = [one.index for one in self.suspicion.suspects]
        return len(np.setdiff1d(self.leader, self.leader[suspects]))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A source and a destination."""

    poses: PoseCoverage
    brightness: RangeCoverage
    side_light: RangeCoverage
    verdict: list[Finding]
    left_out: int  # suspects of the source, which do not count


def time_order(table: FaceTable) -> np.ndarray:
    """(N,) indices of the faces in the order of their frames."""
    return order_in_time(
        [item.person for item in table.items], table.sources, [item.name for item in table.items]
    )


def study(title: str, table: FaceTable, suspicion: Suspicion) -> Study:
    """Find duplicates and put all together."""
    order = time_order(table)
    leader = find_duplicates(table.tiny, order)
    return Study(title, table, count(table), suspicion, order, leader, group_duplicates(leader))


def findings(one: Study) -> list[Finding]:
    """What there is to say about one faceset."""
    counts, faces = one.counts, one.counts.faces
    if not faces:
        return [Finding(BAD, "There are no faces here; extract faces into this folder first.")]
    found = []
    if one.suspicion.suspects:
        some = counted(len(one.suspicion.suspects), "face")
        found.append(
            Finding(BAD, f"{some} may not belong here; look at the suspects and remove what is wrong.")
        )
    if one.spare:
        some = f"{counted(one.spare, 'face')} of {faces:,} ({percent(one.spare, faces)})"
        verb = "is" if one.spare == 1 else "are"
        found.append(
            Finding(NOTE, f"{some} {verb} next to identical with another one that can stand for it.")
        )
    if counts.crowded:
        some = f"{counted(counts.crowded, 'frame')} gave several faces ({counted(counts.in_crowds, 'face')})"
        found.append(Finding(NOTE, f"{some}: make sure that only the wanted person is here."))
    broken = counts.unreadable + counts.foreign
    if broken:
        verb = "is" if broken == 1 else "are"
        found.append(Finding(NOTE, f"{counted(broken, 'file')} {verb} no usable face and will not be used."))
    if len(counts.face_types) > 1:
        types = ", ".join(f"{kind}: {some:,}" for kind, some in counts.face_types.items())
        found.append(Finding(NOTE, f"The face types are mixed ({types})."))
    found += _about_detail(one.table)
    return found or [Finding(GOOD, "Nothing conspicuous.")]


def _about_detail(table: FaceTable) -> list[Finding]:
    found = []
    rows, faces = table.rows, len(table)
    sides = rows["crop_side"]
    small = int((sides[np.isfinite(sides)] < rows["size"][np.isfinite(sides)] / 2).sum())
    if small >= SMALL_SHARE * faces:
        some = f"{counted(small, 'face')} ({percent(small, faces)})"
        verb = "was" if small == 1 else "were"
        found.append(
            Finding(NOTE, f"{some} {verb} enlarged to more than twice the size that the film shows.")
        )
    blurred = int((rows["sharpness"] <= BLURRED).sum())
    if blurred:
        verb = "has" if blurred == 1 else "have"
        some = f"{counted(blurred, 'face')} ({percent(blurred, faces)})"
        found.append(Finding(NOTE, f"{some} {verb} hardly a sharp edge (sharpness {BLURRED} or less)."))
    return found


def compare(src: Study, dst: Study) -> Comparison | None:
    """Hold a source against a destination; None where one of them has no face.

    What may be someone else covers nothing, so suspects of the source do not count, unless all are.
    """
    if not len(src.table) or not len(dst.table):
        return None
    kept = np.ones(len(src.table), bool)
    kept[[one.index for one in src.suspicion.suspects]] = False
    left_out = int((~kept).sum()) if kept.any() else 0
    src_rows = src.table.rows[kept] if left_out else src.table.rows
    dst_rows = dst.table.rows
    poses = cover_poses(src_rows, dst_rows)
    ranges = [
        cover_range(src_rows[name], dst_rows[name], slack)
        for name, slack in (("brightness", BRIGHTNESS_SLACK), ("side_light", LIGHT_SLACK))
    ]
    verdict = [
        *_about_poses(poses),
        *_about_brightness(ranges[0]),
        *_about_side_light(ranges[1]),
        *_about_colour(src_rows, dst_rows),
        *_about_size(src_rows, dst_rows),
        *_about_sharpness(src_rows, dst_rows),
        *_about_material(src, dst),
    ]
    return Comparison(poses, *ranges, verdict, left_out)


def _about_poses(poses: PoseCoverage) -> list[Finding]:
    faces = len(poses.near)
    if not poses.missing and not poses.thin:
        text = (
            f"Poses: for every destination face, {ENOUGH} source faces or more look the same way (±{REACH}°)."
        )
        return [Finding(GOOD, text)]
    found = []
    if poses.missing:
        some = f"{poses.missing:,} of {counted(faces, 'destination face')} ({percent(poses.missing, faces)})"
        verb = "has" if poses.missing == 1 else "have"
        text = f"Poses: {some} {verb} no source face that looks the same way (±{REACH}°)."
        text += f" Film the source looking {_directions(poses.dst_missing)}."
        found.append(Finding(BAD, text))
    if poses.mirrored:
        some = "All" if poses.mirrored == poses.missing else f"{poses.mirrored:,}"
        text = f"{some} of these would be covered by mirrored source faces: random_src_flip helps, "
        found.append(Finding(NOTE, f"{text}where the two halves of the face are alike."))
    if poses.thin:
        some = f"{poses.thin:,} of {counted(faces, 'destination face')} ({percent(poses.thin, faces)})"
        verb = "has" if poses.thin == 1 else "have"
        text = f"Poses: {some} {verb} fewer than {ENOUGH} source faces that look the same way."
        text += f" More of the source would help looking {_directions(poses.dst_thin)}."
        found.append(Finding(NOTE, text))
    return found


def _directions(faces: np.ndarray) -> str:
    """The cells with the most faces in words, with the numbers of these."""
    cells = sorted(np.argwhere(faces > 0).tolist(), key=lambda cell: -faces[tuple(cell)])
    words = [
        f"{direction(CELL * yaw - 90, CELL * pitch - 90)} ({counted(int(faces[pitch, yaw]), 'face')})"
        for pitch, yaw in cells[:SHOWN_DIRECTIONS]
    ]
    more = len(cells) - len(words)
    return "; ".join(words) + (f"; and {counted(more, 'more direction')} of the map" if more > 0 else "")


def _about_brightness(light: RangeCoverage) -> list[Finding]:
    found = []
    for part, word in (
        (light.below, "darker than the darkest"),
        (light.above, "brighter than the brightest"),
    ):
        if part:
            verb = "is" if part == 1 else "are"
            some = f"{part:,} of {counted(light.known, 'destination face')} ({percent(part, light.known)})"
            found.append(Finding(NOTE, f"Brightness: {some} {verb} {word} source face. {_REMEDY}"))
    gap = light.dst_median - light.src_median
    if abs(gap) >= DARKER and not found:
        word = "brighter" if gap > 0 else "darker"
        text = f"Brightness: the destination is {word} (median {light.dst_median:.0f} of 255, "
        found.append(Finding(NOTE, f"{text}source {light.src_median:.0f}). {_REMEDY}"))
    if light.known and not found:
        found.append(Finding(GOOD, "Brightness: the destination's is within the range of the source."))
    return found


_REMEDY = "The merger's colour transfer makes up for some of it; faces filmed in such light do better."


def _about_side_light(light: RangeCoverage) -> list[Finding]:
    found = []
    for part, side in ((light.above, "left"), (light.below, "right")):
        if part:
            verb = "is" if part == 1 else "are"
            some = f"{part:,} of {counted(light.known, 'destination face')} ({percent(part, light.known)})"
            text = f"Light: {some} {verb} lit more from the viewer's {side} than any source face. Colour "
            found.append(
                Finding(NOTE, f"{text}transfer does not move light; film the source with light from there.")
            )
    if light.known and not found:
        found.append(Finding(GOOD, "Light: the source is lit from the sides that the destination is."))
    return found


def _about_colour(src: np.ndarray, dst: np.ndarray) -> list[Finding]:
    red, yellow = (float(dst[name].mean() - src[name].mean()) for name in ("red", "yellow"))
    if np.hypot(red, yellow) < TINT:
        return [Finding(GOOD, "Colour: the faces of both have much the same tint.")]
    words = []
    if abs(red) >= TINT / 2:
        words.append("redder" if red > 0 else "greener")
    if abs(yellow) >= TINT / 2:
        words.append("yellower" if yellow > 0 else "bluer")
    text = f"Colour: the destination's faces are {' and '.join(words)}; the merger's colour transfer evens"
    return [Finding(NOTE, f"{text} that out.")]


def _about_size(src: np.ndarray, dst: np.ndarray) -> list[Finding]:
    one, other = spread(src["unit_side"]), spread(dst["unit_side"])
    if not one.count or not other.count:
        return []
    sizes = f"{one.median:.0f} pixels between the brows' ends, the destination's {other.median:.0f}; medians"
    if one.median < SMALLER * other.median:
        text = f"Size: the source's faces are smaller in their film ({sizes}); the result will "
        return [Finding(BAD, f"{text}be softer than the film around it. Film the source from nearer.")]
    return [Finding(GOOD, f"Size: the source's faces are large enough in their film ({sizes}).")]


def _about_sharpness(src: np.ndarray, dst: np.ndarray) -> list[Finding]:
    one, other = spread(src["sharpness"]), spread(dst["sharpness"])
    if not one.count or not other.count:
        return []
    numbers = f"{one.median:.2f}, the destination's {other.median:.2f}; medians"
    if one.median < other.median - SOFTER:
        text = (
            f"Sharpness: the source is softer ({numbers}). Remove its most blurred faces, or film it sharper."
        )
        return [Finding(BAD, text)]
    if one.median > other.median + SOFTER:
        text = f"Sharpness: the source is sharper ({numbers}); blur can be given to the result when merging."
        return [Finding(GOOD, text)]
    return [Finding(GOOD, f"Sharpness: both are much alike ({numbers}).")]


def _about_material(src: Study, dst: Study) -> list[Finding]:
    """Amount, kinds, and what to remove."""
    found = []
    if src.distinct < FEW_FACES:
        text = f"Amount: the source has only {counted(src.distinct, 'distinct face')}"
        text += ", without the suspects" if src.suspicion.suspects else ""
        found.append(Finding(NOTE, f"{text}; more expressions, poses and light make a better likeness."))
    kinds = [set(one.counts.face_types) for one in (src, dst)]
    if kinds[0] != kinds[1]:
        words = [", ".join(sorted(kind)) for kind in kinds]
        text = (
            f"Face types: the source has {words[0]}, the destination {words[1]}; train a type that both hold."
        )
        found.append(Finding(NOTE, text))
    for name, one in (("source", src), ("destination", dst)):
        if one.suspicion.suspects:
            some = counted(len(one.suspicion.suspects), "suspect")
            found.append(Finding(BAD, f"Remove: {some} in the {name}, after a look at the sheet below."))
    if src.spare:
        text = f"Remove: up to {counted(src.spare, 'face')} of the source that others can stand for"
        found.append(Finding(NOTE, f"{text}; training then sees the rarer faces more often."))
    return found


def summary(titles: Sequence[str], comparison: Comparison) -> str:
    """One line for the console."""
    poses = comparison.poses
    good = len(poses.near) - poses.missing - poses.thin
    share = percent(good, len(poses.near))
    return f"{titles[0]} covers the poses of {share} of the faces of {titles[1]}"
