"""Options of SAEHD, in the order of DFL's questions and under the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from core.errors import UsageError
from core.nn.archi_names import resolution_step, split_archi
from core.options import FIRST_RUN, NEVER, NOT_ZERO, Check, Condition, as_in, opt
from models.face_options import (
    GAN_FITS,
    LARGEST_RESOLUTION,
    LEAST_RESOLUTION,
    FaceOptions,
    person_names,
    shared,
)

FOR_TWO = ("gan_power", "true_face_power", "face_style_power", "bg_style_power")
ROOMY_GPU, BATCH_ON_GPU = 4 * 10**9, 8  # bytes; and the batch size proposed from there on
TWO_ONLY = Condition("empty", lambda persons: not persons)
DF = Condition("of the df family", lambda archi: archi.startswith("df"))


def _resolution_step(options: Any) -> int:
    return resolution_step(split_archi(options.archi)[1])


def _archi_fault(options: Any) -> str:
    try:
        split_archi(options.archi)
    except UsageError as err:
        return str(err)
    return ""


def _resolution_fault(options: Any) -> str:
    if _archi_fault(options) or options.resolution % _resolution_step(options) == 0:
        return ""
    lower = _floored(options)["resolution"]
    return (
        f"{options.archi} needs a resolution that is a multiple of 32, not {options.resolution}; "
        f"give resolution {lower} or {lower + 32}, or an archi without d and t"
    )


def _floored(options: Any) -> dict[str, int]:
    return {"resolution": options.resolution // 32 * 32}


def _growth_fault(options: Any) -> str:
    step = _resolution_step(options)
    fits = LEAST_RESOLUTION <= options.grow_from < options.resolution and options.grow_from % step == 0
    if options.grow_from == 0 or fits:
        return ""
    return (
        f"{options.grow_from} is no resolution to grow from; give a multiple of {step} from "
        f"{LEAST_RESOLUTION} to below {options.resolution}, or 0"
    )


def _pretrained_growth_fault(options: Any) -> str:
    if not (options.pretrain and options.grow_from):
        return ""
    return "the end of pretraining would begin the growth again; give grow_from 0, or pretrain n"


def _perceptual_fault(options: Any) -> str:
    if options.perceptual_power == 0 or options.perceptual_weights:
        return ""
    return "perceptual_power needs the weights of VGG16; give a .h5 file of them, or imagenet to fetch them"


def _comb_check(name: str) -> Check:
    """Refuses in a model of several persons what needs one source and one destination."""

    def fault(options: Any) -> str:
        if not options.persons or not getattr(options, name):
            return ""
        return (
            f"{getattr(options, name):g} is for a source and a destination, which a model of several persons "
            "has not; give 0"
        )

    return Check(("persons", name), fault, lambda options: {name: 0.0})


def _comb_archi_fault(options: Any) -> str:
    if not options.persons or _archi_fault(options) or options.archi.startswith("df"):
        return ""
    return (
        "a decoder for each of several persons is of the df family; give archi "
        f"{_with_df(options)['archi']} instead of {options.archi}"
    )


def _with_df(options: Any) -> dict[str, str]:
    return {"archi": options.archi.replace("liae", "df", 1)}


def _persons_fault(options: Any) -> str:
    try:
        _ = options.person_names
    except UsageError as err:
        return str(err)
    return ""


@dataclass(frozen=True, kw_only=True)
class SaehdOptions(FaceOptions):
    """What a SAEHD run is asked."""

    DROPPED: ClassVar[frozenset[str]] = frozenset({"eyes_prio"})  # eyes_mouth_prio took its place
    CHECKS: ClassVar[tuple[Check, ...]] = (
        Check(("archi",), _archi_fault),
        Check(("resolution", "archi"), _resolution_fault, _floored),
        GAN_FITS,
        Check(("perceptual_power", "perceptual_weights"), _perceptual_fault),
        Check(("resolution", "archi", "grow_from"), _growth_fault),
        Check(("pretrain", "grow_from"), _pretrained_growth_fault),
        Check(("persons",), _persons_fault),
        Check(("persons", "archi"), _comb_archi_fault, _with_df),
        *map(_comb_check, FOR_TWO),
    )

    random_src_flip: bool = as_in(
        FaceOptions,
        "random_src_flip",
        help="Mirror 40 % of the source faces, or of all in a model of several persons: more views, but hair "
        "partings and moles wander.",
    )
    random_dst_flip: bool = as_in(FaceOptions, "random_dst_flip", needs={"persons": TWO_ONLY})

    resolution: int = shared("resolution")
    face_type: str = shared("face_type")
    archi: str = opt(
        "liae-ud",
        "df keeps more of the source's identity; liae takes over more of the destination's shape and light."
        " Letters after a hyphen: u brings the likeness closer, d halves the cost of a resolution, t "
        "deepens the networks for more likeness, c tries another activation.",
        label="AE architecture",
        hint="df or liae, then - and letters of udtc",
        ask=FIRST_RUN,
        clean=lambda value: value.strip().lower() if isinstance(value, str) else value,
    )
    ae_dims: int = shared("ae_dims")
    e_dims: int = shared("e_dims")
    d_dims: int = shared("d_dims")
    d_mask_dims: int = shared("d_mask_dims")
    masked_training: bool = opt(
        True,
        "Learn only inside the face's mask: all of the networks' strength goes into the face. With n the "
        "surroundings are learnt, too.",
        needs={"face_type": ("wf", "head")},
    )
    eyes_mouth_prio: bool = opt(
        False,
        "Weigh errors at eyes and mouth more: cures eyes that look elsewhere, and sharpens teeth.",
        label="Eyes and mouth priority",
    )
    uniform_yaw: bool = shared("uniform_yaw")
    blur_out_mask: bool = shared("blur_out_mask")
    models_opt_on_gpu: bool = shared("models_opt_on_gpu")
    adabelief: bool = opt(
        True,
        "Train with AdaBelief instead of RMSprop: more likeness, more memory. Another choice for a trained "
        "model starts the optimizer anew.",
        label="Use AdaBelief optimizer",
    )
    lr_dropout: str = shared("lr_dropout")
    random_warp: bool = shared("random_warp")
    random_hsv_power: float = opt(
        0.0,
        "Shift hue, saturation and brightness of the source's inputs at random, so that its colours vary "
        "less in the result. Typically 0.05.",
        label="Random hue/saturation/light intensity",
        low=0,
        high=0.3,
    )
    gan_power: float = shared("gan_power", needs={"persons": TWO_ONLY})
    gan_patch_size: int = shared("gan_patch_size", default=16)
    gan_dims: int = shared("gan_dims")
    true_face_power: float = opt(
        0.0,
        "Push the source's codes towards the destination's, so that the result looks more like the source; "
        "too much brings artefacts. Typically 0.01.",
        label="True face power",
        low=0,
        high=1,
        needs={"archi": DF, "persons": TWO_ONLY},
    )
    face_style_power: float = opt(
        0.0,
        "Let the swapped face take on the destination's colours inside the mask. Begin with 0.001, after "
        "some 10,000 iterations at the earliest, and back up first: a collapse is likelier.",
        label="Face style power",
        low=0,
        high=100,
        needs={"persons": TWO_ONLY},
    )
    bg_style_power: float = opt(
        0.0,
        "Let the swapped face take on the destination's surroundings outside the mask. Typically 2; back up "
        "first: a collapse is likelier.",
        label="Background style power",
        low=0,
        high=100,
        needs={"persons": TWO_ONLY},
    )
    ct_mode: str = shared("ct_mode")
    clipgrad: bool = shared("clipgrad")
    pretrain: bool = opt(
        False,
        "Train on faces of many people (--pretraining-data-dir), so that later models of this shape start "
        "from what faces have in common. Turned off, it begins with the two persons at iteration 0.",
        label="Enable pretraining mode",
    )
    dfl_compat: bool = shared("dfl_compat")
    recipe: str = opt(
        "fast",
        "How to train: fast begins with networks fitted to the faces and a higher rate, sharp sooner; dfl is "
        "DeepFaceLab's schedule, as it is with dfl_compat and in pretraining.",
        choices=("fast", "dfl"),
        ask=NEVER,
    )
    perceptual_power: float = opt(
        0.0,
        "Weight of a loss that compares features of VGG16 instead of pixels; 0 is off.",
        low=0,
        high=10,
        ask=NEVER,
    )
    perceptual_weights: str = opt(
        "",
        "Where the weights of VGG16 come from: a .h5 file, or imagenet to have Keras fetch them.",
        needs={"perceptual_power": NOT_ZERO},
        hint="a .h5 file/imagenet",
        ask=NEVER,
    )
    grow_from: int = opt(
        0,
        "Resolution to begin with, which is doubled again and again to that of the model while it trains; 0 "
        "starts at the full one.",
        low=0,
        high=LARGEST_RESOLUTION,
        ask=NEVER,
        fixed=True,
    )
    grow_iters: int = opt(
        20000,
        "Iterations at each resolution of the growth.",
        low=1,
        needs={"grow_from": NOT_ZERO},
        ask=NEVER,
        fixed=True,
    )
    persons: str = opt(
        "",
        "Names of the persons of a comb model, which has a decoder for each; --training-data-dir sets them.",
        hint="names with commas between",
        ask=NEVER,
        fixed=True,
    )

    @classmethod
    def usual(cls, gpu_memory: int = 0) -> SaehdOptions:
        """See `ModelOptions.usual`: DFL's batch size depends on the GPU."""
        return cls(batch_size=BATCH_ON_GPU) if gpu_memory >= ROOMY_GPU else cls()

    @property
    def family(self) -> str:
        """`df` or `liae`."""
        return split_archi(self.archi)[0]

    @property
    def letters(self) -> frozenset[str]:
        """Those of u, d, t, c that the architecture has."""
        return split_archi(self.archi)[1]

    @property
    def person_names(self) -> tuple[str, ...]:
        """The persons of a comb model; empty for one of src and dst."""
        return person_names(self.persons) if self.persons else ()
