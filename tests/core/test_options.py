from __future__ import annotations

import argparse
import io
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.interact.prompts import Prompter
from core.options import FIRST_RUN, NEVER, OptionSet, opt


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
