"""What a model asks of its sample batches; a model hands these over and never sees how they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.errors import UsageError
from core.imagelib.warp import JitterLimits

KINDS = ("image", "mask", "landmarks")
MASK_TYPES = ("full", "eyes_mouth")


@dataclass(frozen=True)
class SampleSpec:
    """One array of the batch, under the key `name`; all arrays of one face share its random draw."""

    name: str
    kind: str = "image"  # image (B, R, R, 3), mask (B, R, R, 1), landmarks (B, 68, 2) in pixels of the result
    warp: bool = False  # apply the elastic warp on top of the affine jitter
    mask_type: str = "full"  # full: XSeg's mask where a face has one, else the hull; or eyes_mouth
    hsv: bool = False  # apply the random HSV shift (options.hsv_power)
    color_transfer: bool = False  # move the colours towards a face of the reference set (options.ct_mode)

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.mask_type not in MASK_TYPES:
            raise UsageError(f"{self}: kind is one of {KINDS} and mask_type one of {MASK_TYPES}")


@dataclass(frozen=True)
class AugmentOptions:
    """How far a sample may stray from the stored face. Rotation in degrees, shift in sides of the image."""

    rotation: tuple[float, float] = (-10, 10)
    scale: tuple[float, float] = (-0.05, 0.05)  # the factor is uniform in [1 / (1 - low), 1 + high]
    shift: tuple[float, float] = (-0.05, 0.05)
    flip: bool = False
    hsv_power: float = 0.0  # 0 to 1; for specs that ask for it
    color_jitter: float = 0.0  # 0 to 1; another exposure and white balance, alike for all images of a face
    ct_mode: str = "none"  # a mode of core.imagelib.color_transfer; for specs that ask for it
    dfl_warp: bool = False  # DFL's geometry and order of resampling, with its defects
    transform: bool = True  # False: no affine jitter and no flip
    warp_strength: float = 1.0  # 1.41 moves as far as DFL's warp does

    def scaled(self, share: float) -> AugmentOptions:
        """The same with the affine's ranges shrunk to a share of them, 0 to 1; the warp stays as it is."""
        ranges = {
            name: tuple(share * end for end in getattr(self, name)) for name in ("rotation", "scale", "shift")
        }
        return replace(self, **ranges)

    def limits(self) -> JitterLimits:
        """The affine's ranges as `core.imagelib.warp` takes them."""
        if not self.transform:
            return JitterLimits((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), flip=False)
        return JitterLimits(self.rotation, self.scale, self.shift, self.flip)


@dataclass(frozen=True)
class SampleRequest:
    """One side's batches: which arrays, how large, and how random."""

    specs: tuple[SampleSpec, ...]
    resolution: int
    face_type: str  # DFL's string, `full_face` and so on
    batch_size: int | Callable[[int], int]  # a function takes the batch's index, for batches that grow
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    augment_share: Callable[[int], float] | None = None  # of the affine's ranges, by the batch's index
    uniform_yaw: bool = False  # deal directions of view evenly (samplelib.yaw), not faces

    def size_of(self, index: int) -> int:
        """Faces in the batch of that index, at least one."""
        size = self.batch_size(index) if callable(self.batch_size) else self.batch_size
        return max(1, int(size))

    def at(self, index: int) -> SampleRequest:
        """The request as it stands for the batch of that index."""
        share = 1.0 if self.augment_share is None else self.augment_share(index)
        return self if share == 1.0 else replace(self, augment=self.augment.scaled(share))

    def mask_types(self) -> tuple[str, ...]:
        """The kinds of mask that any spec needs, sorted."""
        return tuple(sorted({spec.mask_type for spec in self.specs if spec.kind == "mask"}))
