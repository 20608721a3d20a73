"""Options that SAEHD and AMP share: each is declared here and put in its place by the classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import UsageError
from core.nn.patch_plan import fitting_patch_size, shrinkage
from core.options import FIRST_RUN, NEVER, NOT_ZERO, Check, Derived, as_in, opt
from models.base import ModelOptions

# DFL's short names, which its files hold, and those of facesets
FACE_TYPES = {
    "h": "half_face",
    "mf": "midfull_face",
    "f": "full_face",
    "wf": "whole_face",
    "head": "head",
}
COLOR_TRANSFERS = ("none", "rct", "lct", "mkl", "idt", "sot")
LR_DROPOUTS = ("n", "y", "cpu")
LEAST_RESOLUTION, LARGEST_RESOLUTION = 64, 640
PERSON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}")  # becomes part of the names of arrays and weights


def person_names(text: str) -> tuple[str, ...]:
    """The names of a comb model's persons, which `text` holds with commas between them.

    Raises:
        UsageError: Fewer than two, one twice (letter case does not count), or one that weights cannot bear.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not PERSON_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a person here; give up to 32 of a-z, A-Z, 0-9, - and ., the first "
                "a letter or digit"
            )
    if len({name.lower() for name in names}) != len(names):
        raise UsageError(f"{text!r} names a person twice; give each another name")
    if len(names) < 2:
        raise UsageError(f"{text!r} is one person; give at least two")
    return names


def _y_or_n(value: Any) -> Any:
    """Files of older versions of DFL hold a bool."""
    return ("y" if value else "n") if isinstance(value, bool) else value


def _gan_fault(options: Any) -> str:
    if options.gan_power == 0 or options.resolution % shrinkage(options.gan_patch_size) == 0:
        return ""
    return (
        f"{options.gan_patch_size} needs a resolution that is a multiple of "
        f"{shrinkage(options.gan_patch_size)}, not {options.resolution}; the nearest that fits is "
        f"{fitting_patch_size(options.resolution, options.gan_patch_size)}"
    )


GAN_FITS = Check(("resolution", "gan_power", "gan_patch_size"), _gan_fault)
OTHER_PATCH = "its patch size is another now"  # why a GAN's network begins anew, though its weights fit

_DECLARED: Mapping[str, Mapping[str, Any]] = {
    "resolution": {
        "default": 128,
        "help": "Side of the learnt face in pixels. Memory and time grow with its square.",
        "low": LEAST_RESOLUTION,
        "high": LARGEST_RESOLUTION,
        "multiple": 16,
        "ask": FIRST_RUN,
    },
    "face_type": {
        "default": "f",
        "help": (
            "How much of the head is learnt: half, mid-half, full, whole face (with the forehead) or head. "
            "The faces must show at least as much; head needs applied masks on both sets."
        ),
        "choices": tuple(FACE_TYPES),
        "ask": FIRST_RUN,
    },
    "ae_dims": {
        "default": 256,
        "help": (
            "Numbers that describe one face to the decoders. With too few, expressions are lost; more need "
            "more memory and time."
        ),
        "label": "Autoencoder dimensions",
        "low": 32,
        "high": 1024,
        "ask": FIRST_RUN,
    },
    "e_dims": {
        "default": 64,
        "help": "Width of the encoder: how much it can notice in a face.",
        "label": "Encoder dimensions",
        "low": 16,
        "high": 256,
        "multiple": 2,
        "round_up": True,
        "ask": FIRST_RUN,
    },
    "d_dims": {
        "default": 64,
        "help": "Width of the decoders: how much detail they can paint. Costs more than the encoder's.",
        "label": "Decoder dimensions",
        "low": 16,
        "high": 256,
        "multiple": 2,
        "round_up": True,
        "ask": FIRST_RUN,
    },
    "d_mask_dims": {
        "default": 22,
        "help": "Width of the decoders' branch for the mask. More helps where masks follow hands and hair.",
        "label": "Decoder mask dimensions",
        "low": 16,
        "high": 256,
        "multiple": 2,
        "round_up": True,
        "ask": FIRST_RUN,
        "derive": Derived("a third of d_dims, made even", lambda options: options.d_dims // 3),
    },
    "uniform_yaw": {
        "default": False,
        "help": "Show rare poses as often as common ones. Helps profiles that stay blurred.",
        "label": "Uniform yaw distribution of samples",
    },
    "blur_out_mask": {
        "default": False,
        "help": (
            "Blur what lies around the face's mask in the samples, so that its edge is learnt more smoothly. "
            "Needs masks that fit exactly in both sets."
        ),
    },
    "models_opt_on_gpu": {
        "default": True,
        "help": (
            "Keep the optimizer's memory on the GPU. With n it is kept in the system's memory: slower, but "
            "larger networks fit."
        ),
        "label": "Place models and optimizer on GPU",
    },
    "lr_dropout": {
        "default": "n",
        "help": (
            "Update a random part of the weights in each iteration: finer detail late in a training, with "
            "fewer iterations than without it. cpu draws the random numbers outside the GPU, to save its "
            "memory."
        ),
        "label": "Use learning rate dropout",
        "choices": LR_DROPOUTS,
        "clean": _y_or_n,
    },
    "random_warp": {
        "default": True,
        "help": (
            "Distort the faces that the network sees, so that it learns what a face is. Turn it off for the"
            " last part of a training, for sharpness."
        ),
        "label": "Enable random warp of samples",
    },
    "gan_power": {
        "default": 0.0,
        "help": (
            "Strength of a second network that judges details and drives them on. Only for a model that is "
            "well trained, with random warp off; typically 0.1. It cannot be undone: back up first."
        ),
        "label": "GAN power",
        "low": 0,
        "high": 5,
    },
    "gan_patch_size": {
        "help": "Pixels across the patches that the judging network looks at; larger ones sharpen more.",
        "label": "GAN patch size",
        "low": 3,
        "high": 640,
        "needs": {"gan_power": NOT_ZERO},
        "derive": Derived(
            "an eighth of resolution, or the nearest that fits",
            lambda options: fitting_patch_size(options.resolution, options.resolution // 8),
        ),
    },
    "gan_dims": {
        "default": 16,
        "help": "Width of the judging network; it needs memory and time with its square.",
        "label": "GAN dimensions",
        "low": 4,
        "high": 512,
        "needs": {"gan_power": NOT_ZERO},
    },
    "ct_mode": {
        "default": "none",
        "help": (
            "Give the source samples the colours of random destination samples, so that the model learns the "
            "source in the destination's light. none trains fastest; rct and lct are mild, sot the strongest."
        ),
        "label": "Color transfer for src faceset",
        "choices": COLOR_TRANSFERS,
    },
    "clipgrad": {
        "default": False,
        "help": "Limit the size of each update: a collapse gets less likely, training a little slower.",
        "label": "Enable gradient clipping",
    },
    "dfl_compat": {
        "default": False,
        "help": "Train as DeepFaceLab does, its errors included; a model begun there starts with y.",
        "ask": NEVER,
    },
}


def shared(name: str, **changes: Any) -> Any:
    """The declaration of a shared option, with `changes` (arguments of `opt`)."""
    return opt(**{**_DECLARED[name], **changes})


@dataclass(frozen=True, kw_only=True)
class FaceOptions(ModelOptions):
    """What both classes inherit."""

    random_dst_flip: bool = as_in(ModelOptions, "random_dst_flip", default=True)

    @property
    def full_face_type(self) -> str:
        """The face type as facesets name it, such as `full_face`."""
        return FACE_TYPES[self.face_type]  # the classes declare it
