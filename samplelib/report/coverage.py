"""Does a source faceset hold what a destination shows: its poses, its light, its detail?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samplelib.report.statistics import pose_counts

REACH = 7  # degrees of yaw and of pitch within which a source face shows a pose
ENOUGH = 5  # source faces within reach for a pose to be covered; with fewer it is thin, with none missing
BRIGHTNESS_SLACK = 5.0  # grey levels
LIGHT_SLACK = 0.05  # of `side_light`
MISSING, THIN, COVERED = 0, 1, 2  # states; an empty cell has NONE
NONE = -1


@dataclass(frozen=True, eq=False)
class PoseCoverage:
    """Which poses of the destination the source has.

    Attributes:
        near: (N,) source faces within `REACH` of each destination face.
        near_mirrored: (N,) the same with every source face mirrored as well.
        dst: (CELLS, CELLS) destination faces of each cell, by pitch and yaw.
        src: (CELLS, CELLS) source faces of each cell.
        dst_missing: (CELLS, CELLS) destination faces whose pose no source face has.
        dst_thin: (CELLS, CELLS) destination faces whose pose few source faces have.
        states: (CELLS, CELLS) MISSING if half of the cell's destination faces or more are; THIN if any is, or
            half of them are thin; COVERED; NONE without destination faces.
    """

    near: np.ndarray
    near_mirrored: np.ndarray
    dst: np.ndarray
    src: np.ndarray
    dst_missing: np.ndarray
    dst_thin: np.ndarray
    states: np.ndarray

    @property
    def missing(self) -> int:
        """Destination faces whose pose no source face has."""
        return int((self.near == 0).sum())

    @property
    def thin(self) -> int:
        """Destination faces whose pose some source faces have, but fewer than `ENOUGH`."""
        return int(((self.near > 0) & (self.near < ENOUGH)).sum())

    @property
    def mirrored(self) -> int:
        """Missing ones that a mirrored source face has."""
        return int(((self.near == 0) & (self.near_mirrored > 0)).sum())


@dataclass(frozen=True)
class RangeCoverage:
    """A number of the destination's faces against the range of it that the source has."""

    known: int  # destination faces with a number, if the source has any
    below: int  # under the source's smallest by more than the slack
    above: int
    src_low: float
    src_median: float
    src_high: float
    dst_low: float
    dst_median: float
    dst_high: float

    @property
    def outside(self) -> int:
        return self.below + self.above


def cover_poses(src: np.ndarray, dst: np.ndarray) -> PoseCoverage:
    """Look up each destination face's pose among the source's; both are rows of `measure.ROW`."""
    (src_yaw, src_pitch), (yaw, pitch) = ((rows["yaw"], rows["pitch"]) for rows in (src, dst))
    near = count_near(yaw, pitch, src_yaw, src_pitch)
    near_mirrored = near + count_near(yaw, pitch, -src_yaw, src_pitch)
    missing, thin = near == 0, (near > 0) & (near < ENOUGH)
    total = pose_counts(yaw, pitch)
    without, short = pose_counts(yaw[missing], pitch[missing]), pose_counts(yaw[thin], pitch[thin])
    states = np.full(total.shape, NONE, np.int8)
    states[total > 0] = COVERED
    states[(total > 0) & ((without > 0) | (2 * short >= total))] = THIN
    states[(total > 0) & (2 * without >= total)] = MISSING
    return PoseCoverage(near, near_mirrored, total, pose_counts(src_yaw, src_pitch), without, short, states)


def count_near(yaw: np.ndarray, pitch: np.ndarray, of_yaw: np.ndarray, of_pitch: np.ndarray) -> np.ndarray:
    """(N,) int64: how many of some poses are within `REACH` of each pose in both angles.

    Angles are rounded to whole degrees, so that counting takes one look at a table of sums for each pose,
    not one at every other pose.
    """
    grid = np.zeros((181, 181), np.int64)
    np.add.at(grid, (_whole(of_pitch), _whole(of_yaw)), 1)
    sums = np.zeros((182, 182), np.int64)
    sums[1:, 1:] = grid.cumsum(axis=0).cumsum(axis=1)
    (top, bottom), (left, right) = (
        (np.maximum(places - REACH, 0), np.minimum(places + REACH, 180) + 1)
        for places in (_whole(pitch), _whole(yaw))
    )
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]


def _whole(degrees: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.asarray(degrees, np.float64)), -90, 90).astype(np.int64) + 90


def cover_range(src: np.ndarray, dst: np.ndarray, slack: float) -> RangeCoverage:
    """Compare two sets of numbers; NaN is unknown."""
    src, dst = (np.asarray(part, np.float64)[np.isfinite(part)] for part in (src, dst))
    unknown = float("nan")
    if not len(src) or not len(dst):
        return RangeCoverage(0, 0, 0, *[unknown] * 6)
    return RangeCoverage(
        len(dst),
        int((dst < src.min() - slack).sum()),
        int((dst > src.max() + slack).sum()),
        *(float(number) for part in (src, dst) for number in (part.min(), np.median(part), part.max())),
    )
