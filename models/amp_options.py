"""Options of AMP, in the order of DFL's questions and under the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.options import FIRST_RUN, Check, as_in, opt
from models.face_options import GAN_FITS, FaceOptions, shared


@dataclass(frozen=True, kw_only=True)
class AmpOptions(FaceOptions):
    """What an AMP run is asked."""

    CHECKS: ClassVar[tuple[Check, ...]] = (GAN_FITS,)

    batch_size: int = as_in(FaceOptions, "batch_size", default=8)
    resolution: int = shared("resolution", default=224, multiple=32)
    face_type: str = shared("face_type", default="wf", choices=("f", "wf", "head"))
    ae_dims: int = shared("ae_dims")
    inter_dims: int = opt(
        1024,
        "Numbers between which source and destination are mixed; with more of them a mixture is finer. "
        "Should not be less than ae_dims.",
        label="Inter dimensions",
        low=32,
        high=2048,
        ask=FIRST_RUN,
    )
    e_dims: int = shared("e_dims")
    d_dims: int = shared("d_dims")
    d_mask_dims: int = shared("d_mask_dims")
    morph_factor: float = opt(
        0.5,
        "Share of the source in the mixtures that are learnt from; 0.5 suits every case.",
        label="Morph factor",
        low=0.1,
        high=0.5,
        ask=FIRST_RUN,
        inherited=False,
    )
    uniform_yaw: bool = shared("uniform_yaw")
    blur_out_mask: bool = shared("blur_out_mask")
    lr_dropout: str = shared("lr_dropout")
    models_opt_on_gpu: bool = shared("models_opt_on_gpu")
    random_warp: bool = shared("random_warp")
    gan_power: float = shared("gan_power")
    gan_patch_size: int = shared("gan_patch_size", default=28)
    gan_dims: int = shared("gan_dims")
    ct_mode: str = shared("ct_mode")
    clipgrad: bool = shared("clipgrad")
    dfl_compat: bool = shared("dfl_compat")
