"""One option: its type, range, help, and what it depends on. `core.options` makes sets of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import UsageError

ALWAYS = "always"  # asked at every start that asks at all
FIRST_RUN = "first run"  # asked once; fixed for the life of a model
NEVER = "never"  # set by --option only

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Condition:
    """A test of another option's value, and the words that the manual puts behind that option's name."""

    words: str
    test: Callable[[Any], bool]


NOT_ZERO = Condition("other than 0", bool)


def one_of(*values: Scalar) -> Condition:
    """The value is one of these."""
    *most, last = [shown(value) for value in values]
    return Condition(f"{', '.join(most)} or {last}" if most else last, lambda value: value in values)


@dataclass(frozen=True)
class Derived:
    """A default that follows from the options declared before."""

    words: str  # for help and manual
    value: Callable[[Any], Scalar]  # from a set of options, whose later values must not be read


@dataclass(frozen=True)
class Spec:
    """All that is known of one option; made by `opt`, completed with name and type by `OptionSet.specs`."""

    name: str
    kind: type
    default: Scalar
    help: str
    label: str
    low: float | None = None
    high: float | None = None
    multiple: int | None = None
    round_up: bool = False
    choices: tuple[Scalar, ...] = ()
    ask: str = ALWAYS
    fixed: bool = False  # for the life of a model, though it may never be asked
    inherited: bool = True  # the answer is the default of the next new model
    needs: Mapping[str, Condition] = field(default_factory=dict)
    numbered: bool = False  # a menu whose entries may also be named by their number, as DFL's mode lists are
    derive: Derived | None = None
    clean: Callable[[Any], Any] | None = None
    hint: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def range_text(self) -> str:
        """The values allowed, for prompts and messages; empty when anything goes."""
        if self.kind is bool:
            return "y/n"
        if self.choices:
            return "/".join(str(choice) for choice in self.choices)
        if self.low is None and self.high is None:
            return self.hint
        low, high = ("" if limit is None else f"{limit:.10g}" for limit in (self.low, self.high))
        return f"{low}..{high}" + (f", a multiple of {self.multiple}" if self.multiple else "")

    def default_text(self) -> str:
        """The default, and where it comes from if from other options."""
        return shown(self.default) + (f" ({self.derive.words})" if self.derive else "")

    def parse(self, text: str) -> Scalar:
        """The value that `text` spells, unchecked against the range.

        Raises:
            ValueError: It spells none of this type.
        """
        text = text.strip()
        if self.kind is bool:
            return _parse_bool(text)
        if self.choices:
            return self._parse_choice(text)
        if self.kind is int:
            return int(text)
        if self.kind is float:
            return float(text)
        return text

    def _parse_choice(self, text: str) -> Scalar:
        for choice in self.choices:
            if str(choice).lower() == text.lower():
                return choice
        if self.numbered and text.isdigit() and int(text) < len(self.choices):
            return self.choices[int(text)]
        raise ValueError(text)

    def check(self, value: Any) -> Scalar:
        """`value` in this option's type if it lies in the range; numbers may be NumPy's, as in DFL's files.

        Raises:
            ValueError: It does not.
        """
        if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
            value = value.item()
        if self.clean is not None:
            value = self.clean(value)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(value)
            return value
        if self.kind in (int, float):
            value = self._number(value)
        elif not isinstance(value, str):
            raise ValueError(value)
        if self.choices and value not in self.choices:
            raise ValueError(value)
        if self.clip(value) != value:
            raise ValueError(value)
        return value

    def _number(self, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise ValueError(value)
        if self.kind is int and value % 1 != 0:  # nor is infinity whole
            raise ValueError(value)
        return self.kind(value)

    def clip(self, value: Scalar) -> Scalar:
        """The nearest value in the range, rounded to the multiple; text is returned as it is."""
        if self.kind not in (int, float) or self.choices:
            return value
        if self.low is not None:
            value = max(self.low, value)
        if self.high is not None:
            value = min(self.high, value)
        if self.multiple and self.round_up:
            value = -(-value // self.multiple) * self.multiple
        elif self.multiple:
            value = value // self.multiple * self.multiple
        return self.kind(value)

    def derived(self, options: Any) -> Scalar:
        """The default beside the other values of `options`, moved into the range."""
        return self.clip(self.derive.value(options)) if self.derive else self.default

    def refusal(self, value: object) -> UsageError:
        """The error for a value that a flag or a file gives and that is not allowed."""
        wanted = self.range_text() or {int: "a whole number", float: "a number"}.get(self.kind, "text")
        return UsageError(f"option {self.name}: {value!r} is not allowed; give {wanted}")


def opt(
    default: Scalar,
    help: str,
    *,
    label: str = "",
    low: float | None = None,
    high: float | None = None,
    multiple: int | None = None,
    round_up: bool = False,
    choices: Sequence[Scalar] = (),
    ask: str = ALWAYS,
    fixed: bool = False,
    inherited: bool | None = None,
    needs: Mapping[str, Condition | Sequence[Scalar]] | None = None,
    numbered: bool = False,
    derive: Derived | None = None,
    clean: Callable[[Any], Any] | None = None,
    hint: str = "",
) -> Any:
    """Declare one option of an `OptionSet`.

    Args:
        default: Value when nobody says otherwise; its type is the option's type.
        help: One or two sentences, shown after `?`, by `--help` and in the manual.
        label: The question; by default the name with spaces.
        low: Smallest value.
        high: Largest value.
        multiple: The value is a multiple of this; a prompt rounds down to it.
        round_up: A prompt rounds up to the multiple.
        choices: The only values.
        ask: `ALWAYS`, `FIRST_RUN` or `NEVER`.
        fixed: It cannot change after the first run; goes without saying for `FIRST_RUN`.
        inherited: The value of one new model is the default of the next; by default where it is asked.
        needs: Other options and the condition (or the values) that gives this one a meaning; else it is not
            asked and counts for nothing.
        numbered: The choices are shown as a numbered menu and may be given by number.
        derive: The default where options declared before decide it; `default` is then what follows from
            theirs.
        clean: Applied to every value before it is checked: spellings of older files, letter case.
        hint: The values of a text in a few words, shown where others show their range.
    """
    spec = {
        "default": default,
        "help": help,
        "label": label,
        "low": low,
        "high": high,
        "multiple": multiple,
        "round_up": round_up,
        "choices": tuple(choices),
        "ask": ask,
        "fixed": fixed or ask == FIRST_RUN,
        "inherited": ask != NEVER if inherited is None else inherited,
        "needs": {name: _condition(needed) for name, needed in (needs or {}).items()},
        "numbered": numbered,
        "derive": derive,
        "clean": clean,
        "hint": hint,
    }
    return field(default=None if derive else default, metadata={"option": spec})


def as_in(options: type, name: str, **changes: Any) -> Any:
    """The declaration of an option that the dataclass `options` has, with `changes` (arguments of `opt`)."""
    return opt(**{**options.__dataclass_fields__[name].metadata["option"], **changes})


def _condition(needed: Condition | Sequence[Scalar]) -> Condition:
    return needed if isinstance(needed, Condition) else one_of(*needed)


def _parse_bool(text: str) -> bool:
    value = {"y": True, "yes": True, "true": True, "on": True, "1": True}.get(text.lower())
    if value is None and text.lower() not in ("n", "no", "false", "off", "0"):
        raise ValueError(text)
    return bool(value)


def shown(value: Scalar) -> str:
    """A value as prompts and tables show it."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return f"{value:g}" if isinstance(value, float) else str(value)
