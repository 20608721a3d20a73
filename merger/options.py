"""What a merge is asked: the record that questions, `--option KEY=VALUE` and the manual are made from."""

from __future__ import annotations

from dataclasses import dataclass

from core.imagelib.color_transfer import MODES as COLOR_TRANSFER_MODES
from core.imagelib.filters import SHARPEN_MODES
from core.options import NEVER, OptionSet, opt

MODES = ("original", "overlay", "hist-match", "seamless", "seamless-hist-match", "raw-rgb", "raw-predict")
MASK_MODES = (
    "full",
    "dst",
    "learned-prd",
    "learned-dst",
    "learned-prd*learned-dst",
    "learned-prd+learned-dst",
)
HIST_MODES = ("hist-match", "seamless-hist-match")
SEAMLESS_MODES = ("seamless", "seamless-hist-match")
BLENDED_MODES = ("overlay", "hist-match", *SEAMLESS_MODES)
NOT_RAW = ("original", *BLENDED_MODES)


@dataclass(frozen=True, kw_only=True)
class MergeOptions(OptionSet):
    """How one run puts the predicted faces into the frames. Names, numbers and ranges are DFL's."""

    mode: str = opt(
        "overlay",
        "How the face is put into the frame. overlay: pasted with a soft mask. hist-match: overlay after "
        "matching the histograms. seamless: blended by gradients, follows the light of the frame. raw-rgb: "
        "the whole square, raw-predict: only the square, both for work in an editing program. original: "
        "the frame.",
        choices=MODES,
        numbered=True,
    )
    masked_hist_match: bool = opt(
        True, "Measure the histograms inside the mask only.", needs={"mode": ("hist-match",)}
    )
    hist_match_threshold: int = opt(
        255,
        "Below 255 only the darker part of the histogram is matched.",
        low=0,
        high=255,
        needs={"mode": HIST_MODES},
    )
    mask_mode: str = opt(
        "learned-prd*learned-dst",
        "Which pixels belong to the face. full: the whole square. dst: the outline of the landmarks. "
        "learned-prd: what the model takes for the new face; learned-dst: for the old one; their product or "
        "their sum.",
        choices=MASK_MODES,
        numbered=True,
    )
    erode_mask_modifier: int = opt(
        20,
        "Shrink the mask (negative: grow it), in pixels of a grid of 4 times the model's resolution. At its "
        "border the new face shows hair and background of its own; 20 with a blur of 40 leaves 40 % of the "
        "edge that 0 and 0 (DFL's start) let show, for 14 % of the area.",
        label="Choose erode mask modifier",
        low=-400,
        high=400,
        needs={"mode": NOT_RAW},
    )
    blur_mask_modifier: int = opt(
        40,
        "Soften the border of the mask, in pixels of a grid of 4 times the model's resolution. More than 0 "
        "also lets the mask end before the border of the face square, so that no straight edge can show.",
        label="Choose blur mask modifier",
        low=0,
        high=400,
        needs={"mode": NOT_RAW},
    )
    motion_blur_power: int = opt(
        0,
        "Blur the face along its movement from frame to frame, in percent of that movement.",
        low=0,
        high=100,
        needs={"mode": NOT_RAW},
    )
    output_face_scale: int = opt(
        0, "Above 0 the face gets smaller (50: two thirds), below 0 larger (-50: double).", low=-50, high=50
    )
    color_transfer_mode: str = opt(
        "rct",
        "Fit the colours of the new face to those of the old one. rct: mean and contrast in Lab, calm from "
        "frame to frame; lct, mkl: linear; idt, sot, mix: whole distributions, slower; -m: measured inside "
        "the mask only.",
        label="Color transfer to predicted face",
        choices=tuple(COLOR_TRANSFER_MODES),
        numbered=True,
        needs={"mode": NOT_RAW},
    )
    sharpen_mode: str = opt(
        "none", "Sharpen the face by a box or a gaussian filter.", choices=SHARPEN_MODES, numbered=True,
        needs={"mode": NOT_RAW},
    )  # fmt: skip
    blursharpen_amount: int = opt(
        0,
        "Above 0 sharpens in the chosen mode, below 0 blurs by medians in any mode.",
        label="Choose blur/sharpen amount",
        low=-100,
        high=100,
        needs={"sharpen_mode": ("box", "gaussian"), "mode": NOT_RAW},
    )
    image_denoise_power: int = opt(
        0, "Soften the frame around the face by medians.", low=0, high=500, needs={"mode": NOT_RAW}
    )
    bicubic_degrade_power: int = opt(
        0,
        "Take detail from the frame around the face by shrinking it.",
        low=0,
        high=100,
        needs={"mode": NOT_RAW},
    )
    color_degrade_power: int = opt(
        0, "Blend the result with a 256-colour version of it.", low=0, high=100, needs={"mode": NOT_RAW}
    )
    dfl_exact: bool = opt(
        False,
        "Arithmetic as in DFL where ours is better: colour statistics that count what lies outside the "
        "mask as black or white, movement in whole pixels, values cut to whole numbers instead of rounded.",
        ask=NEVER,
    )
