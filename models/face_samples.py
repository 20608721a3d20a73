"""What SAEHD and AMP ask of the sample loader (section 7.5 of the reference)."""

from __future__ import annotations

from models.face_options import FaceOptions
from samplelib import AugmentOptions, SampleRequest, SampleSpec

SCALE = (-0.15, 0.15)


def face_request(
    options: FaceOptions,
    side: str,
    eyes: bool,
    dfl_warp: bool,
    hsv_power: float = 0.0,
    is_source: bool | None = None,
) -> SampleRequest:
    """Warped input, target, mask of the face and, if wanted, of eyes and mouth, of one side.

    Args:
        options: AMP's or SAEHD's, as they hold now.
        side: Whose samples.
        eyes: Whether `target_{side}_eyes` is wanted.
        dfl_warp: DFL's geometry, its defects included.
        hsv_power: How far the input's colours are shifted at random.
        is_source: Whether the side gets another's colours and the shifts of colour, and is mirrored as the
            source is; by default any but `dst`.
    """
    src = side != "dst" if is_source is None else is_source
    specs = [
        SampleSpec(f"warped_{side}", "image", warp=options.random_warp, hsv=src, color_transfer=src),
        SampleSpec(f"target_{side}", "image", color_transfer=src),
        SampleSpec(f"target_{side}_mask", "mask"),
    ]
    if eyes:
        specs.append(SampleSpec(f"target_{side}_eyes", "mask", mask_type="eyes_mouth"))
    augment = AugmentOptions(
        scale=SCALE,
        flip=options.random_src_flip if src else options.random_dst_flip,
        hsv_power=hsv_power if src else 0.0,
        ct_mode=options.ct_mode if src else "none",
        dfl_warp=dfl_warp,
    )
    return SampleRequest(
        specs=tuple(specs),
        resolution=options.resolution,
        face_type=options.full_face_type,
        batch_size=options.batch_size,
        augment=augment,
        uniform_yaw=options.uniform_yaw,
    )
