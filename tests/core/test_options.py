from __future__ import annotations

import argparse
import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.interact.prompts import Prompter
from core.options import FIRST_RUN, NEVER, NOT_ZERO, Check, Derived, OptionSet, as_in, opt


@dataclass(frozen=True, kw_only=True)
class Options(OptionSet):
    RENAMED = {"old_size": "size"}  # noqa: RUF012 - read only

    size: int = opt(128, "Side in pixels.", low=64, high=640, multiple=16, ask=FIRST_RUN)
    power: float = opt(0.5, "How strong.", low=0, high=1)
    flip: bool = opt(False, "Mirror some.")
    kind: str = opt("overlay", "How to blend.", choices=("original", "overlay", "seamless"), numbered=True)
    ct: str = opt("none", "Colour transfer.", choices=("none", "rct"))
    threshold: int = opt(255, "Of the match.", low=0, high=255, needs={"kind": ("seamless",)})
    seed: int = opt(0, "Of the random numbers.", low=0, ask=NEVER)


def _answers(monkeypatch, text: str) -> Prompter:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return Prompter()


@given(
    st.integers(4, 40), st.floats(0, 1), st.booleans(), st.sampled_from(["original", "overlay", "seamless"])
)
def test_json_and_pairs_bring_back_every_value(sixteenths, power, flip, kind):
    options = Options(size=16 * sixteenths, power=power, flip=flip, kind=kind)
    assert Options.from_json(options.to_json()) == (options, {})
    pairs = [f"{key}={value!r}".replace("'", "") for key, value in options.to_json().items()]
    assert Options.from_pairs(pairs) == options


REFUSED = "size=65 size=0 size=1000 size=x power=nan power=2 flip=maybe kind=7 kind=poisson ct=1 sise=64 size"


@pytest.mark.parametrize("pair", REFUSED.split())
def test_pairs_out_of_range_are_refused_by_name(pair):
    with pytest.raises(UsageError, match=pair.split("=")[0]):
        Options.from_pairs([pair])


@pytest.mark.parametrize("size", [float("inf"), float("nan"), 128.5, "128", None, True, {}])
def test_saved_values_of_another_kind_are_refused(size):
    with pytest.raises(UsageError, match="size"):
        Options.from_json({"size": size})


def test_an_option_of_another_class_is_declared_once_and_changed():
    @dataclass(frozen=True, kw_only=True)
    class Larger(Options):
        size: int = as_in(Options, "size", default=256)
        threshold: int = as_in(Options, "threshold", help="Of another match.")

    before, after = Options.specs(), Larger.specs()
    assert list(before) == list(after) and Larger().size == 256 and Options().size == 128
    assert after["size"] == replace(before["size"], default=256)
    assert after["threshold"] == replace(before["threshold"], help="Of another match.")


def test_a_refusal_gives_the_range():
    with pytest.raises(UsageError, match=r"64\.\.640"):
        Options.from_pairs(["size=1000"])
    with pytest.raises(UsageError, match="did you mean size"):
        Options.from_pairs(["sise=64"])


def test_saved_names_are_kept_renamed_or_reported():
    options, unknown = Options.from_json({"old_size": 256, "power": 1, "eyes_prio": True})
    assert (options.size, options.power) == (256, 1.0)
    assert unknown == {"eyes_prio": True}
    with pytest.raises(UsageError, match="size"):
        Options.from_json({"size": 100})


def test_prompts_take_enter_help_numbers_and_move_values_into_their_range(monkeypatch, capsys):
    prompter = _answers(monkeypatch, "100\n?\n5\ny\n2\nRCT\n300\n")
    options = Options().ask(prompter)
    assert options == Options(size=96, power=1.0, flip=True, kind="seamless", ct="rct", threshold=255)
    printed = capsys.readouterr().out
    assert "How strong." in printed and "taking 96" in printed and "taking 1" in printed


def test_end_of_input_takes_defaults_and_says_so(monkeypatch, capsys):
    assert Options().ask(_answers(monkeypatch, "")) == Options()
    assert "default" in capsys.readouterr().out


def test_without_prompts_every_question_is_printed_with_its_default(capsys):
    assert Options(size=64).ask(Prompter(interactive=False)) == Options(size=64)
    printed = capsys.readouterr().out
    assert "[64] Size" in printed and "Threshold" not in printed and "Seed" not in printed


def test_given_values_and_later_runs_are_not_asked(monkeypatch):
    options = Options().ask(_answers(monkeypatch, "\n" * 9), first_run=False, given={"power": 0.25})
    assert options == Options(power=0.25)


def test_flags_follow_the_same_declaration(capsys):
    parser = argparse.ArgumentParser()
    Options.add_flags(parser)
    args = parser.parse_args(["--size", "64", "--no-flip", "--kind", "2"])
    assert Options.given_by(args) == {"size": 64, "flip": False, "kind": "seamless"}
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--size", "65"])
    assert stop.value.code == 2
    assert "64..640" in capsys.readouterr().err


def test_the_manual_and_the_summary_name_every_option_that_applies():
    assert all(f"`{name}`" in Options.docs_table() for name in Options.specs())
    assert [name for name, _ in Options().rows()] == ["size", "power", "flip", "kind", "ct", "seed"]


def _odd(options) -> str:
    return f"{options.letters} needs size 32" if "d" in options.letters and options.size % 32 else ""


def _small(options) -> str:
    return (
        f"half {options.half} does not divide size {options.size}; give 8"
        if options.size % options.half
        else ""
    )


@dataclass(frozen=True, kw_only=True)
class Related(OptionSet):
    DROPPED = frozenset({"eyes_prio"})
    CHECKS = (
        Check(("size", "letters"), _odd, lambda options: {"size": options.size // 32 * 32}),
        Check(("size", "half"), _small),
    )

    size: int = opt(128, "Side.", low=64, high=640, multiple=16, ask=FIRST_RUN)
    half: int = opt(
        16, "Part.", low=2, multiple=2, round_up=True, derive=Derived("size // 8", lambda o: o.size // 8)
    )
    letters: str = opt("d", "Kind.", clean=lambda v: v.strip().lower() if isinstance(v, str) else v)
    power: float = opt(0.0, "How strong.", low=0, high=1)
    patch: int = opt(4, "How large.", low=1, needs={"power": NOT_ZERO})
    drop: str = opt(
        "n", "How.", choices=("n", "y"), clean=lambda v: ("n", "y")[v] if v in (True, False) else v
    )
    name: str = opt("", "Whose.", ask=NEVER, fixed=True)


def test_a_default_follows_what_it_comes_from_until_it_is_given():
    assert Related(size=256).half == 32
    assert Related().changed(size=512).half == 64
    assert Related(half=8).changed(size=256).half == 8
    assert "half" not in Related(size=256).inherited() and Related(half=8).inherited()["half"] == 8
    assert "16 (size // 8)" in Related.docs_table()


def test_what_does_not_fit_together_is_refused_with_the_remedy():
    for values in ({"size": 144}, {"half": 12}):
        with pytest.raises(UsageError, match=r"needs size 32|give 8"):
            Related(**values)
    with pytest.raises(UsageError, match="needs size 32"):
        Related().ask(Prompter(interactive=False), given={"size": 144})  # what a flag says is not moved
    assert (
        Related().ask(Prompter(interactive=False), given={"size": 144, "letters": "u", "half": 8}).size == 144
    )


def test_a_prompt_mends_or_asks_again(monkeypatch, capsys):
    # 150 becomes 144; 19 becomes 20, which does not divide it; d moves the size once more
    options = Related().ask(_answers(monkeypatch, "150\n19\n8\n D \n0.5\n7\ny\n"))
    assert options == Related(size=128, half=8, letters="d", power=0.5, patch=7, drop="y")
    printed = capsys.readouterr().out
    assert "taking size 128" in printed and "20 does not divide size 144; give 8" in printed


def test_a_default_that_does_not_fit_is_no_endless_question(monkeypatch):
    for prompter in (_answers(monkeypatch, ""), Prompter(interactive=False)):
        with pytest.raises(UsageError, match="does not divide"):
            Related(half=64).ask(prompter, given={"size": 96})


def test_values_of_older_files_and_numpy_are_understood():
    saved = {
        "size": np.int64(256),
        "power": np.float64(0.5),
        "drop": np.bool_(True),
        "letters": " UD ",
        "half": None,
    }
    options, unknown = Related.from_json({**saved, "eyes_prio": True, "old": 1})
    assert options == Related(size=256, power=0.5, drop="y", letters="ud") and unknown == {"old": 1}


def test_an_option_without_a_meaning_counts_as_its_default():
    assert Related(patch=9).effective("patch") == 4
    assert Related(patch=9, power=0.5).effective("patch") == 9
