"""Colour transfer: give one picture the colour statistics of another, in every mode that DFL knows.

All modes take float32 BGR pictures in [0, 1] and return a new one. Statistics come from the pixels inside the
mask only; `dfl_exact=True` switches to DFL's own arithmetic (pixels outside the mask count as black, idt's
border bins fall out of the range), which exists to compare numbers with DFL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MIN_LAB_DEVIATION = (
    1e-3  # a flatter channel (L is 0..100) holds rounding noise only, which must not be blown up
)
LCT_RIDGE = 1e-5  # DFL adds it to both covariances
IDT_ROUNDS, IDT_BINS = 20, 256
MKL_RIDGE = 1e-8  # keeps the map finite for a flat picture; a thousandth of a grey level squared
SOT_STEPS, SOT_SIGMA_COLOUR, SOT_SIGMA_SPACE = 10, 5.0, 16.0
SEED = 0  # of the random directions when the caller gives no generator: the same for every frame of a video

Generator = np.random.Generator | np.random.RandomState


@dataclass(frozen=True)
class _Pixels:
    """A picture as a list of pixels and the places where its statistics are taken."""

    image: np.ndarray  # (H, W, 3) float32
    inside: np.ndarray | None  # (H, W) bool, None = everywhere

    def statistics(self) -> np.ndarray:
        """(N, 3) float32 pixels inside the mask."""
        return self.image.reshape(-1, 3) if self.inside is None else self.image[self.inside]


@dataclass(frozen=True)
class _Settings:
    """How a mode is to be computed."""

    rng: Generator
    dfl_exact: bool
    batch: int


@dataclass(frozen=True)
class _Mode:
    """One row of the table of modes."""

    function: Callable[[_Pixels, _Pixels, _Settings], np.ndarray]
    masked: bool  # measures inside the mask only; the others look at the whole picture even if given a mask
    batch: int = 5  # directions per step of sliced optimal transport


def color_transfer(
    mode: str,
    src: np.ndarray,
    dst: np.ndarray,
    mask: np.ndarray | None = None,
    rng: Generator | None = None,
    dst_mask: np.ndarray | None = None,
    dfl_exact: bool = False,
) -> np.ndarray:
    """Change the colours of `src` towards those of `dst`.

    Args:
        mode: A name of `MODES`. `rct` and the names that end in -m measure inside the mask only, the others
            the whole picture. `none` returns a copy.
        src: (H, W, 3) float32 BGR in [0, 1], the picture to change. uint8 is taken as 0..255.
        dst: (h, w, 3) of the same kind, the picture that gives the colours.
        mask: (H, W) or (H, W, 1), inside where >= 0.5; of `src`, and of `dst` too unless that has its own. A
            mask with fewer than 2 pixels inside leaves the picture as it is.
        rng: Generator of the random directions of idt, sot and mix; fixed directions by default, so that
            neighbouring frames of a video get the same ones and colours do not flicker.
        dst_mask: (h, w) or (h, w, 1), inside of `dst`.
        dfl_exact: DFL's arithmetic to the digit: pixels outside the masks count, as black.

    Returns:
        (H, W, 3) float32 in [0, 1]. Pixels outside the mask are changed by the same rule.

    Raises:
        ValueError: Unknown mode, a picture without 3 channels, a mask of another size.
    """
    if mode not in MODES:
        raise ValueError(f"colour transfer mode {mode!r} is unknown, there are {', '.join(MODES)}")
    src, dst = _as_float(src), _as_float(dst)
    if mode == "none":
        return src.copy()
    row = MODES[mode]
    inside, dst_inside = _inside(mask, src), _inside(mask if dst_mask is None else dst_mask, dst)
    if not row.masked:
        inside = dst_inside = None
    for area in (inside, dst_inside):
        if area is not None and np.count_nonzero(area) < 2:
            return src.copy()
    if (
        dfl_exact and row.function is not _rct
    ):  # DFL blackens the pictures; rct blackens its Lab values itself
        src, dst = (p if m is None else p * m[..., None] for p, m in ((src, inside), (dst, dst_inside)))
        inside = dst_inside = None
    settings = _Settings(np.random.default_rng(SEED) if rng is None else rng, dfl_exact, row.batch)
    return row.function(_Pixels(src, inside), _Pixels(dst, dst_inside), settings)


def _as_float(image: np.ndarray) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"colour transfer needs pictures of shape (H, W, 3), got {image.shape}")
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(image, np.float32)


def _inside(mask: np.ndarray | None, image: np.ndarray) -> np.ndarray | None:
    if mask is None:
        return None
    if mask.shape[:2] != image.shape[:2] or mask.size != image.shape[0] * image.shape[1]:
        raise ValueError(f"the mask has shape {mask.shape}, its picture {image.shape}")
    return mask.reshape(image.shape[:2]) >= 0.5


def _rct(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Equal mean and deviation per channel of CIE Lab (Reinhard et al., 2001, there l-alpha-beta)."""
    import cv2

    src_lab, dst_lab = (cv2.cvtColor(p.image, cv2.COLOR_BGR2LAB) for p in (src, dst))
    src_mean, src_std = _lab_statistics(src_lab, src.inside, settings.dfl_exact)
    dst_mean, dst_std = _lab_statistics(dst_lab, dst.inside, settings.dfl_exact)
    gain = dst_std / np.maximum(src_std, MIN_LAB_DEVIATION)
    src_lab *= gain.astype(np.float32)
    src_lab += (dst_mean - src_mean * gain).astype(np.float32)
    low, high = np.array([0, -127, -127], np.float32), np.array([100, 127, 127], np.float32)
    np.clip(src_lab, low, high, out=src_lab)
    bgr = cv2.cvtColor(src_lab, cv2.COLOR_LAB2BGR)
    return np.clip(bgr, 0, 1, out=bgr)


def _lab_statistics(
    lab: np.ndarray, inside: np.ndarray | None, zero_filled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population deviation per channel, (3,) float64 each."""
    import cv2

    if zero_filled and inside is not None:
        lab, inside = lab * inside[..., None].astype(np.float32), None
    mean, deviation = cv2.meanStdDev(lab, mask=None if inside is None else inside.astype(np.uint8))
    return mean.reshape(3), deviation.reshape(3)


def _symmetric_power(matrix: np.ndarray, power: float) -> np.ndarray:
    """Power of a symmetric positive matrix through its eigenvalues, floored at machine epsilon."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, np.finfo(np.float64).eps) ** power) @ vectors.T


def _apply_linear(
    image: np.ndarray, matrix: np.ndarray, src_mean: np.ndarray, dst_mean: np.ndarray
) -> np.ndarray:
    import cv2

    affine = np.column_stack([matrix, dst_mean - matrix @ src_mean])
    return np.clip(cv2.transform(image, affine), 0, 1)


def _lct(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Match mean and covariance by principal axes: Q_dst Q_src^-1, Q being the root of a covariance."""
    src_pixels, dst_pixels = (p.statistics().astype(np.float64) for p in (src, dst))
    ridge = LCT_RIDGE * np.eye(3)
    src_cov, dst_cov = (np.cov(p, rowvar=False, bias=True) + ridge for p in (src_pixels, dst_pixels))
    matrix = _symmetric_power(dst_cov, 0.5) @ _symmetric_power(src_cov, -0.5)
    return _apply_linear(src.image, matrix, src_pixels.mean(axis=0), dst_pixels.mean(axis=0))


def _mkl(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Monge-Kantorovich linear map (Pitie and Kokaram, 2007): A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2."""
    src_pixels, dst_pixels = (p.statistics().astype(np.float64) for p in (src, dst))
    ridge = 0.0 if settings.dfl_exact else MKL_RIDGE
    src_cov, dst_cov = (np.cov(p, rowvar=False) + ridge * np.eye(3) for p in (src_pixels, dst_pixels))
    root, inverse_root = _symmetric_power(src_cov, 0.5), _symmetric_power(src_cov, -0.5)
    matrix = inverse_root @ _symmetric_power(root @ dst_cov @ root, 0.5) @ inverse_root
    return _apply_linear(src.image, matrix, src_pixels.mean(axis=0), dst_pixels.mean(axis=0))


def _sample_rotation(rng: Generator) -> np.ndarray:
    """Uniformly random rotation (3, 3) by QR of a normal matrix (Mezzadri, 2007), drawn as SciPy does."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diagonal(r))
    q[0] *= np.sign(np.linalg.det(q))
    return q


def _idt(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Iterative distribution transfer (Pitie et al., 2005): match histograms along randomly turned axes."""
    moved = src.image.reshape(-1, 3).astype(np.float64)
    inside = None if src.inside is None else src.inside.reshape(-1)
    target = dst.statistics().astype(np.float64)
    for _ in range(IDT_ROUNDS):
        rotation = _sample_rotation(settings.rng)
        turned, turned_target = moved @ rotation.T, target @ rotation.T
        change = np.empty_like(turned)
        for axis in range(3):
            values = turned[:, axis]
            measured = values if inside is None else values[inside]
            change[:, axis] = (
                _match_bins(values, measured, turned_target[:, axis], settings.dfl_exact) - values
            )
        moved += change @ rotation / IDT_ROUNDS
    return np.clip(moved, 0, 1).astype(np.float32).reshape(src.image.shape)


def _match_bins(values: np.ndarray, measured: np.ndarray, target: np.ndarray, dfl_exact: bool) -> np.ndarray:
    """Move `values` so that those `measured` get the distribution of `target`, by cumulated bins."""
    low, high = min(measured.min(), target.min()), max(measured.max(), target.max())
    if high - low < 1e-9:
        return values
    counts, edges = np.histogram(measured, IDT_BINS, range=(low, high))
    target_counts, _ = np.histogram(target, IDT_BINS, range=(low, high))
    cumulative, target_cumulative = (np.cumsum(c) / c.sum() for c in (counts, target_counts))
    if dfl_exact:  # the first bin goes to 0, what lies beyond the last edge to the number of bins
        mapped = np.interp(cumulative, target_cumulative, edges[1:])
        return np.interp(values, edges[1:], mapped, left=0, right=IDT_BINS)
    slope = 1e-12 * np.arange(
        IDT_BINS + 1
    )  # empty bins would make the inverse of the target's sums ambiguous
    mapped = np.interp(np.append(0, cumulative) + slope, np.append(0, target_cumulative) + slope, edges)
    return np.interp(values, edges, mapped)


def _sot(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    return np.clip(_sliced_transport(src, dst, settings), 0, 1)


def _sliced_transport(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Sliced optimal transport (Rabin et al., 2010), its change smoothed by a bilateral filter; not clipped.

    Along each direction, pixels inside the mask move to the place of equal rank in `dst`; those outside move
    like their neighbours in value.
    """
    import cv2

    moved = src.image.reshape(-1, 3).copy()
    inside = None if src.inside is None else src.inside.reshape(-1)
    target = dst.statistics()
    for _ in range(SOT_STEPS):
        advance = np.zeros_like(moved)
        for _ in range(settings.batch):
            direction = settings.rng.normal(size=3).astype(np.float32)
            direction /= np.linalg.norm(direction)
            advance += (
                _advance_along(moved @ direction, np.sort(target @ direction), inside)[:, None] * direction
            )
        moved += advance / settings.batch
    change = moved.reshape(src.image.shape) - src.image
    return src.image + cv2.bilateralFilter(change, 0, SOT_SIGMA_COLOUR, SOT_SIGMA_SPACE)


def _advance_along(projected: np.ndarray, target: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """How far each projected pixel moves to meet the sorted `target`; (N,) float32."""
    measured = projected if inside is None else projected[inside]
    order = np.argsort(measured, kind="stable")
    ranked = measured[order]
    if len(target) != len(ranked):
        target = np.interp(np.linspace(0, 1, len(ranked)), np.linspace(0, 1, len(target)), target)
    steps = (target - ranked).astype(np.float32)
    if inside is None:
        advance = np.empty_like(projected)
        advance[order] = steps
        return advance
    advance = np.interp(projected, ranked, steps).astype(np.float32)
    advance[np.flatnonzero(inside)[order]] = steps
    return advance


def _mix(src: _Pixels, dst: _Pixels, settings: _Settings) -> np.ndarray:
    """Lightness by a linear map of L alone, colour by sliced transport at one lightness; 8-bit inside."""
    import cv2

    src_lab, dst_lab = (cv2.cvtColor((p.image * 255).astype(np.uint8), cv2.COLOR_BGR2LAB) for p in (src, dst))
    lightness = _match_lightness(_Pixels(src_lab, src.inside), _Pixels(dst_lab, dst.inside))
    src_lab[..., 0] = dst_lab[..., 0] = 100
    src_flat, dst_flat = (
        cv2.cvtColor(lab, cv2.COLOR_LAB2BGR).astype(np.float32) for lab in (src_lab, dst_lab)
    )
    moved = _sliced_transport(_Pixels(src_flat, src.inside), _Pixels(dst_flat, dst.inside), settings)
    lab = cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_BGR2LAB)
    lab[..., 0] = lightness
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR).astype(np.float32) / np.float32(255)


def _match_lightness(src_lab: _Pixels, dst_lab: _Pixels) -> np.ndarray:
    """(H, W) uint8 L of `src` with the mean and deviation of the L of `dst`."""
    src_l, dst_l = (p.statistics()[:, 0] / 255.0 for p in (src_lab, dst_lab))
    gain = np.sqrt((dst_l.var() + LCT_RIDGE) / (src_l.var() + LCT_RIDGE))
    matched = (src_lab.image[..., 0] / 255.0 - src_l.mean()) * gain + dst_l.mean()
    return (np.clip(matched, 0, 1) * 255).astype(np.uint8)


MODES: dict[str, _Mode | None] = {  # the first nine in DFL's order, which is also their number in the merger
    "none": None,
    "rct": _Mode(_rct, masked=True),
    "lct": _Mode(_lct, masked=False),
    "mkl": _Mode(_mkl, masked=False),
    "mkl-m": _Mode(_mkl, masked=True),
    "idt": _Mode(_idt, masked=False),
    "idt-m": _Mode(_idt, masked=True),
    "sot-m": _Mode(_sot, masked=True, batch=30),
    "mix-m": _Mode(_mix, masked=True),
    "lct-m": _Mode(_lct, masked=True),
    "sot": _Mode(_sot, masked=False),
}
