"""DeepFaceLab's options: what its files say of them, and what it takes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import CheckpointError
from core.options import FIRST_RUN, Spec

FROM_DFL = {"recipe": "dfl", "dfl_compat": True}  # what a model begun there goes on by


@dataclass(frozen=True)
class Kept:
    """How DeepFaceLab stores one option."""

    store: type  # int64 and float64 for numbers that its prompt clips, else Python's own types
    choices: tuple[str, ...] = ()  # the first is taken for what it does not know


_SIZE, _POWER = Kept(np.int64), Kept(np.float64)
_WHOLE, _FLAG, _TEXT = Kept(int), Kept(bool), Kept(str)
_CT = Kept(str, ("none", "rct", "lct", "mkl", "idt", "sot"))
_LR_DROPOUT = Kept(str, ("n", "y", "cpu"))
_EVERY = {
    "autobackup_hour": _WHOLE,
    "write_preview_history": _FLAG,
    "target_iter": _WHOLE,
    "random_src_flip": _FLAG,
    "random_dst_flip": _FLAG,
    "batch_size": _WHOLE,
}
_GAN = {"gan_power": _POWER, "gan_patch_size": _SIZE, "gan_dims": _SIZE}
DFL_OPTIONS: dict[str, dict[str, Kept]] = {
    "Quick96": {"batch_size": _WHOLE},
    "SAEHD": {
        "resolution": _SIZE,
        "face_type": _TEXT,
        "models_opt_on_gpu": _FLAG,
        "archi": _TEXT,
        "ae_dims": _SIZE,
        "e_dims": _SIZE,
        "d_dims": _SIZE,
        "d_mask_dims": _SIZE,
        "masked_training": _FLAG,
        "eyes_mouth_prio": _FLAG,
        "uniform_yaw": _FLAG,
        "blur_out_mask": _FLAG,
        "adabelief": _FLAG,
        "lr_dropout": _LR_DROPOUT,
        "random_warp": _FLAG,
        "random_hsv_power": _POWER,
        "true_face_power": _POWER,
        "face_style_power": _POWER,
        "bg_style_power": _POWER,
        "ct_mode": _CT,
        "clipgrad": _FLAG,
        "pretrain": _FLAG,
        **_EVERY,
        **_GAN,
    },
    "AMP": {
        "resolution": _SIZE,
        "face_type": _TEXT,
        "models_opt_on_gpu": _FLAG,
        "ae_dims": _SIZE,
        "inter_dims": _SIZE,
        "e_dims": _SIZE,
        "d_dims": _SIZE,
        "d_mask_dims": _SIZE,
        "morph_factor": _POWER,
        "uniform_yaw": _FLAG,
        "blur_out_mask": _FLAG,
        "lr_dropout": _LR_DROPOUT,
        "random_warp": _FLAG,
        "ct_mode": _CT,
        "clipgrad": _FLAG,
        **_EVERY,
        **_GAN,
    },
}
FACE_TYPES = {"SAEHD": ("h", "mf", "f", "wf", "head"), "AMP": ("f", "wf", "head")}


def adopted(saved: Mapping[str, Any], specs: Mapping[str, Spec]) -> tuple[dict[str, Any], list[str]]:
    """A DeepFaceLab model's options as ours, and what the user should be told.

    Its prompts do not hold all ranges, and its other versions have other choices. What can be changed at
    every start is moved into the range, or to the default choice, with a note; what is fixed for the
    model's life (sizes) is left for the check of the options to refuse.

    Args:
        saved: Plain values from `data.dat`.
        specs: The options of the model's kind.
    """
    values = {name: value for name, value in FROM_DFL.items() if name in specs}
    notes: list[str] = []
    for name, value in saved.items():
        if value is None:
            continue
        spec = specs.get(name)
        if spec is not None:
            value = _retyped(value, spec.kind)
        movable = spec is not None and spec.ask != FIRST_RUN and not spec.fixed
        if movable and (spec.choices or (type(value) in (int, float) and abs(value) != math.inf)):
            inside = _chosen(spec, value) if spec.choices else spec.clip(value)
            if inside != value:
                notes.append(f"option {name}: {value} of DeepFaceLab is taken as {inside}")
            value = inside
        values[name] = value
    return values, notes


def _chosen(spec: Spec, value: Any) -> Any:
    """`value` if the option has this choice, by any spelling of it, else the default."""
    try:
        spec.check(value)
    except ValueError:
        return spec.default
    return value


def _retyped(value: Any, kind: type) -> Any:
    """Numbers that say the same in the option's type: 1 for y, 64.0 for 64. What does not is left alone."""
    if kind is bool and type(value) in (int, float) and value in (0, 1):
        return bool(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind in (int, float) and type(value) is bool:
        return kind(value)
    return value


def returned(kind: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Our options as DeepFaceLab's.

    What is none of ours came from another version of DeepFaceLab, and goes back to it.

    Returns:
        Its options under its names and in its types, ours that it does not know, and what was changed.

    Raises:
        CheckpointError: The model's face type is none of its.
    """
    from models import options_class

    table = DFL_OPTIONS[kind]
    wanted = FACE_TYPES.get(kind)
    if wanted and options.get("face_type") not in wanted:
        raise CheckpointError(
            f"face type {options.get('face_type')!r} is unknown to DeepFaceLab's {kind} ({', '.join(wanted)})"
        )
    found, changes = {}, []
    for name, kept in table.items():
        if name not in options:
            continue
        value = options[name]
        if kept.choices and value not in kept.choices:
            changes.append(f"{name} {value} becomes {kept.choices[0]}")
            value = kept.choices[0]
        found[name] = kept.store(value)
    declared = options_class(kind)
    ours = declared.specs().keys() | declared.DROPPED | declared.RENAMED.keys()
    others = {name: value for name, value in options.items() if name not in table}
    found |= {name: value for name, value in others.items() if name not in ours}
    return found, {name: value for name, value in others.items() if name in ours}, changes
