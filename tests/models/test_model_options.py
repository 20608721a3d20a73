"""The options of SAEHD, AMP and Original against the reference (sections 7.1 and 8.1)."""

from __future__ import annotations

import argparse
import io
import json

import numpy as np
import pytest

from core.errors import UsageError
from core.interact.prompts import Prompter
from core.options import FIRST_RUN, NEVER, OptionSet
from models.amp_options import AmpOptions
from models.face_options import FACE_TYPES
from models.original_options import OriginalOptions
from models.quick96_options import Quick96Options
from models.saehd_options import SaehdOptions

COMMON = """
autobackup_hour         A 0    0..24
write_preview_history   A n    y/n
target_iter             A 0    0..
random_src_flip         A n    y/n
random_dst_flip         A y    y/n
batch_size              A 4    1..1024
"""
SAEHD = f"""{COMMON}
resolution              F 128  64..640,16
face_type               F f    h/mf/f/wf/head
archi                   F liae-ud df-or-liae
ae_dims                 F 256  32..1024
e_dims                  F 64   16..256,2
d_dims                  F 64   16..256,2
d_mask_dims             F 22   16..256,2
masked_training         A y    y/n
eyes_mouth_prio         A n    y/n
uniform_yaw             A n    y/n
blur_out_mask           A n    y/n
models_opt_on_gpu       A y    y/n
adabelief               A y    y/n
lr_dropout              A n    n/y/cpu
random_warp             A y    y/n
random_hsv_power        A 0    0..0.3
gan_power               A 0    0..5
gan_patch_size          A 16   3..640
gan_dims                A 16   4..512
true_face_power         A 0    0..1
face_style_power        A 0    0..100
bg_style_power          A 0    0..100
ct_mode                 A none none/rct/lct/mkl/idt/sot
clipgrad                A n    y/n
pretrain                A n    y/n
"""
AMP = f"""{COMMON.replace("A 4  ", "A 8  ")}
resolution              F 224  64..640,32
face_type               F wf   f/wf/head
ae_dims                 F 256  32..1024
inter_dims              F 1024 32..2048
e_dims                  F 64   16..256,2
d_dims                  F 64   16..256,2
d_mask_dims             F 22   16..256,2
morph_factor            F 0.5  0.1..0.5
uniform_yaw             A n    y/n
blur_out_mask           A n    y/n
lr_dropout              A n    n/y/cpu
models_opt_on_gpu       A y    y/n
random_warp             A y    y/n
gan_power               A 0    0..5
gan_patch_size          A 28   3..640
gan_dims                A 16   4..512
ct_mode                 A none none/rct/lct/mkl/idt/sot
clipgrad                A n    y/n
"""
CLASSES = (SaehdOptions, AmpOptions, OriginalOptions, Quick96Options)
EVERY = [(cls, name) for cls in CLASSES for name in cls.specs()]

# What differs from the default and fits the others; the rest is worked out from the range.
OTHERS = {
    "resolution": 256,
    "archi": "df-udt",
    "gan_patch_size": 20,
    "perceptual_weights": "imagenet",
    "grow_from": 64,
    "persons": "ann,bob",
}
BESIDE = {
    "gan_patch_size": {"gan_power": 0.1},
    "gan_dims": {"gan_power": 0.1},
    "true_face_power": {"archi": "df"},
    "masked_training": {"face_type": "wf"},
    "perceptual_power": {"perceptual_weights": "imagenet"},
    "grow_iters": {"grow_from": 64},
    "persons": {"archi": "df"},
}


def other_value(cls: type[OptionSet], name: str):
    spec = cls.specs()[name]
    if spec.kind is bool:
        return not spec.default
    if spec.choices:
        return next(choice for choice in spec.choices if choice != spec.default)
    if name in OTHERS:
        return OTHERS[name]
    return spec.low if spec.low != spec.default else spec.kind(spec.high or 7)


@pytest.mark.parametrize("cls, table", [(SaehdOptions, SAEHD), (AmpOptions, AMP)])
def test_the_questions_are_the_references(cls, table):
    asked = [
        (spec.name, "F" if spec.ask == FIRST_RUN else "A", spec.default_text().partition(" (")[0],
         spec.range_text().replace(", a multiple of ", ",").replace("df or liae, then - and letters of udtc",
                                                                    "df-or-liae"))
        for spec in cls.specs().values() if spec.ask != NEVER
    ]  # fmt: skip
    assert asked == [tuple(line.split()) for line in table.split("\n") if line]


@pytest.mark.parametrize("cls, name", EVERY, ids=lambda value: getattr(value, "__name__", value))
def test_every_option_survives_prompt_flag_and_json(cls, name, monkeypatch):
    spec, value, beside = cls.specs()[name], other_value(cls, name), BESIDE.get(name, {})
    wanted = cls(**beside, **{name: value})
    text = {True: "y", False: "n"}[value] if isinstance(value, bool) else str(value)
    assert cls.from_pairs([f"{name}={text}"], base=cls(**beside)) == wanted
    parser = argparse.ArgumentParser()
    cls.add_flags(parser)
    flag = (
        [spec.flag] if value is True else ["--no-" + spec.flag[2:]] if value is False else [spec.flag, text]
    )
    assert cls.given_by(parser.parse_args(flag)) == {name: value}
    assert cls.from_json(json.loads(json.dumps(wanted.to_json()))) == (wanted, {})
    assert f"`{name}`" in cls.docs_table() and spec.help.endswith(".")
    if spec.ask == NEVER:
        return
    before = [s for s in cls.specs().values() if s.ask != NEVER and s.name not in beside]
    base = cls(**beside)
    skipped = sum(base.applies(s.name) for s in before[: [s.name for s in before].index(name)])
    monkeypatch.setattr("sys.stdin", io.StringIO("\n" * skipped + text + "\n"))
    assert cls().ask(Prompter(), given=beside) == wanted


@pytest.mark.parametrize("cls", CLASSES)
def test_dfls_numbers_are_numpys(cls):
    numbers = {k: np.int32(v) for k, v in cls().to_json().items() if type(v) is int}
    floats = {k: np.float64(v) for k, v in cls().to_json().items() if type(v) is float}
    assert cls.from_json({**numbers, **floats}) == (cls(), {})


def test_what_dfl_saved_long_ago():
    saved = {"lr_dropout": True, "eyes_prio": True, "archi": " DF-UD"}
    options, unknown = SaehdOptions.from_json(saved)
    assert (options.lr_dropout, options.archi) == ("y", "df-ud") and not unknown


@pytest.mark.parametrize("archi", ["df", "liae", "df-u", "liae-udtc", "df-cd"])
def test_every_archi_is_taken(archi):
    options = SaehdOptions(archi=archi)
    assert options.family == archi.split("-")[0] and options.letters == frozenset(archi.partition("-")[2])


@pytest.mark.parametrize(
    "values, text",
    [
        *(
            ({"archi": archi}, "df or liae")
            for archi in ("", "df-", "dfl", "df-x", "df-uu", "liae ud", "df-u-d")
        ),
        ({"resolution": 144}, "resolution 128 or 160"),
        ({"resolution": 80, "archi": "df-t"}, "multiple of 32"),
        ({"resolution": 72, "archi": "df"}, "a multiple of 16"),
        ({"d_dims": 65}, "a multiple of 2"),
        (
            {"resolution": 496, "archi": "df", "gan_power": 0.1, "gan_patch_size": 62},
            "nearest that fits is 61",
        ),
        ({"grow_from": 128}, "below 128"),
        ({"perceptual_power": 1}, "imagenet"),
        ({"persons": "ann"}, "at least two"),
        ({"persons": "ann,bob", "archi": "liae-d"}, "give archi df-d"),
        ({"persons": "ann,bob", "archi": "df", "gan_power": 0.1}, "give 0"),
        ({"persons": "ann, Ann"}, "twice"),
        ({"persons": "ann,b_b"}, "no name"),
    ],
)
def test_impossible_settings_are_refused_with_the_remedy(values, text):
    with pytest.raises(UsageError, match=text):
        SaehdOptions(**values)


@pytest.mark.parametrize("resolution", range(64, 641, 16))
def test_the_default_patch_size_fits_every_resolution(resolution):
    options = SaehdOptions(resolution=resolution, archi="df", gan_power=0.1)
    assert options.gan_patch_size == resolution // 8 or resolution in (496, 528, 560, 592, 624)


def test_the_questions_as_in_dfl_but_for_its_mistakes(monkeypatch, capsys):
    answers = "\n" * 6 + "150\nwf\nfoo\nDF-D\n\n\n95\n\nn\n" + "\n" * 8 + "0.1\n\n\n" + "\n" * 6
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    options = SaehdOptions().ask(Prompter())
    assert (options.resolution, options.archi, options.masked_training) == (128, "df-d", False)
    assert (options.d_dims, options.d_mask_dims) == (96, 32)  # DFL proposes 22 whatever was typed
    assert (options.gan_power, options.gan_patch_size) == (0.1, 16)
    printed = capsys.readouterr().out
    assert "taking resolution 128" in printed and "give df or liae" in printed
    assert "[16] GAN patch size" in printed and "True face power" in printed


def test_what_has_no_meaning_is_not_asked_and_counts_as_off(capsys):
    SaehdOptions().ask(Prompter(interactive=False))
    printed = capsys.readouterr().out
    assert not [text for text in ("True face", "GAN patch", "Masked") if text in printed]
    options = SaehdOptions(true_face_power=0.5, masked_training=False)
    assert (options.effective("true_face_power"), options.effective("masked_training")) == (0.0, True)


def test_several_persons_are_asked_nothing_that_is_for_two(capsys):
    before = SaehdOptions(archi="df", gan_power=0.1, bg_style_power=2.0, true_face_power=0.01)
    options = before.ask(Prompter(interactive=False), given={"persons": "ann,bob"})
    assert (options.gan_power, options.bg_style_power, options.true_face_power) == (0, 0, 0)
    printed = capsys.readouterr().out
    assert not [text for text in ("GAN", "True face", "style power", "dst faces") if text in printed]
    with pytest.raises(UsageError, match="give 0"):
        before.ask(Prompter(interactive=False), given={"persons": "ann,bob", "gan_power": 0.2})
    assert SaehdOptions(archi="df", persons="ann,bob").idle(["random_dst_flip", "batch_size"]) == [
        "option random_dst_flip has no effect here: it needs persons empty"
    ]


def test_face_types_have_the_names_of_facesets():
    assert {short: SaehdOptions(face_type=short).full_face_type for short in FACE_TYPES} == FACE_TYPES
