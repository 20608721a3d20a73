"""Questions at the terminal, in the form that users of DFL know.

`[default] label ( info ?:help ) : ` with Enter for the default and `?` for help. The end of the input and
`--no-prompt` take every default, and say so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from core.options import Scalar, Spec


class Prompter:
    """Asks at the terminal, or prints each question with the answer it takes by itself."""

    def __init__(self, interactive: bool = True) -> None:
        self.interactive = interactive
        self._ended = False  # the input

    @property
    def can_answer(self) -> bool:
        """Whether somebody may still answer; else asking again would go on for ever."""
        return self.interactive and not self._ended

    def tell(self, text: str) -> None:
        """A line between the questions."""
        print(text, flush=True)

    def ask(self, spec: Spec, default: Scalar) -> Scalar:
        """Ask for one declared option; a number out of range is moved into it, with a word."""
        if spec.numbered:
            return self._ask_numbered(spec, default)
        if spec.kind is bool:
            return self.ask_bool(spec.label, bool(default), help=spec.help)
        if spec.choices:
            text = self.ask_text(spec.label, str(default), [str(c) for c in spec.choices], help=spec.help)
            return spec.parse(text)
        if spec.kind in (int, float):
            return self._ask_number(spec, default)
        return self.ask_text(spec.label, str(default), help=spec.help, hint=spec.hint)

    def ask_bool(self, label: str, default: bool, help: str = "") -> bool:
        """A yes or no; any other answer means the default."""
        answer = self._answer("y" if default else "n", label, "y/n", help).lower()
        value = {"y": True, "yes": True, "n": False, "no": False}.get(answer, default)
        self._echo("y" if value else "n")
        return value

    def ask_int(
        self, label: str, default: int, low: int | None = None, high: int | None = None, help: str = ""
    ) -> int:
        """A whole number, moved into the range; anything that is none means the default."""
        spec = Spec("", int, default, help, label, low, high)
        return int(self._ask_number(spec, default))

    def ask_text(
        self, label: str, default: str = "", choices: Sequence[str] = (), help: str = "", hint: str = ""
    ) -> str:
        """A text; with choices, asked again until it is one of them (letter case does not matter)."""
        while True:
            answer = self._answer(default, label, "/".join(choices) or hint, help) or default
            matches = [c for c in choices if c.lower() == answer.lower()]
            if not choices or matches:
                answer = matches[0] if matches else answer
                self._echo(answer)
                return answer
            print(f"{answer!r} is none of {', '.join(choices)}")

    def pressed_enter_within(self, seconds: float, label: str) -> bool:
        """Whether a line was typed within `seconds`; False at once where nobody can type."""
        if not self.interactive or not sys.stdin or not sys.stdin.isatty():
            return False
        print(label, flush=True)
        if os.name == "nt":
            return _pressed_enter_windows(seconds)
        import select

        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return bool(ready) and sys.stdin.readline() != ""

    def _ask_number(self, spec: Spec, default: Scalar) -> Scalar:
        answer = self._answer(f"{default:g}" if spec.kind is float else str(default), spec.label,
                              spec.range_text(), spec.help)  # fmt: skip
        try:
            value = spec.parse(answer) if answer else default
        except ValueError:
            print(f"{answer!r} is not a number, taking {default}")
            value = default
        clipped = spec.clip(value)
        if clipped != value:
            print(f"{value} is outside {spec.range_text()}, taking {clipped}")
        self._echo(f"{clipped:g}" if spec.kind is float else str(clipped))
        return clipped

    def _ask_numbered(self, spec: Spec, default: Scalar) -> Scalar:
        for number, choice in enumerate(spec.choices):
            print(f"({number}) {choice}")
        number = spec.choices.index(default)
        while True:
            answer = self._answer(str(number), spec.label, f"0..{len(spec.choices) - 1}", spec.help) or str(
                number
            )
            try:
                value = spec.parse(answer)
            except ValueError:
                print(f"{answer!r} is not in the list")
                continue
            self._echo(str(value))
            return value

    def _answer(self, default: str, label: str, info: str, help: str) -> str:
        """One answer without surrounding blanks, the default for an empty one; shows the help after `?`."""
        brackets = " ".join(part for part in (info, "?:help" if help else "") if part)
        head = f"[{default}] " if default else ""
        question = f"{head}{label} ( {brackets} ) : " if brackets else f"{head}{label} : "
        if not self.interactive:
            print(f"{question}{default}  (default)", flush=True)
            return default
        while True:
            try:
                answer = input(question).strip()
            except EOFError:
                self._ended = True
                print(f"{default}  (default: the input has ended)", flush=True)
                return default
            if answer == "?" and help:
                print(help)
                continue
            return answer or default

    def _echo(self, value: str) -> None:
        if self.interactive and sys.stdin and not sys.stdin.isatty():
            print(value, flush=True)  # answers piped in are not visible otherwise


def _pressed_enter_windows(seconds: float) -> bool:
    import msvcrt

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if msvcrt.kbhit() and msvcrt.getwch() in "\r\n":
            return True
        time.sleep(0.05)
    return False


def get_prompter(args: argparse.Namespace) -> Prompter:
    """The prompter that the shared flag `--no-prompt` asks for."""
    return Prompter(interactive=not getattr(args, "no_prompt", False))
