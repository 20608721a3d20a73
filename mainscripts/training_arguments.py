"""The command line of `train`: its flags, the file of `--config`, and whose faces are learnt."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UsageError

if TYPE_CHECKING:
    from mainscripts.training_choice import Choice

SIDES = ("src", "dst")
TWO_WAYS = (
    "give --training-data-src-dir and --training-data-dst-dir, or --training-data-dir NAME=FOLDER for each "
    "of several persons"
)
# A flag on the command line puts these of the file out of force, too.
DISPLACED = {
    "training-data-dir": ("training-data-src-dir", "training-data-dst-dir"),
    "training-data-src-dir": ("training-data-dir",),
    "training-data-dst-dir": ("training-data-dir",),
    "cpu-only": ("force-gpu-idxs",),
    "force-gpu-idxs": ("cpu-only",),
}
TEAM = ("workers", "worker-index")  # belong together, wherever each is given
NOT_IN_FILES = ("help", "config", "option")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DFL's flags of `train`, and ours."""
    from models import MODEL_KINDS

    required = parser.add_argument_group("required, here or in the file of --config")
    required.add_argument(
        "--training-data-src-dir", type=Path, metavar="DIR", help="aligned faces of the person to put in"
    )
    required.add_argument(
        "--training-data-dst-dir", type=Path, metavar="DIR", help="aligned faces of the person in the video"
    )
    required.add_argument(
        "--training-data-dir", action="append", default=[], metavar="NAME=DIR",
        help="instead of the two: aligned faces of one of several persons, any of whom can then be put on "
        "any other (SAEHD); repeat it for each",
    )  # fmt: skip
    required.add_argument("--model-dir", type=Path, required=True, metavar="DIR", help="saved models")
    required.add_argument("--model", required=True, choices=tuple(MODEL_KINDS), help="kind of the model")
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="a JSON file with what these flags say, for runs that nobody attends; the command line wins",
    )  # fmt: skip
    parser.add_argument(
        "--pretraining-data-dir", type=Path, metavar="DIR", help="faces for models that can be pretrained"
    )
    parser.add_argument(
        "--pretrained-model-dir", type=Path, metavar="DIR",
        help="a new model begins with these weights (encoder.npy and so on, or a saved model's folder)",
    )  # fmt: skip
    parser.add_argument("--no-preview", action="store_true", help="no window; the same as --screen none")
    parser.add_argument("--force-model-name", metavar="NAME", help="train this model without asking which")
    parser.add_argument("--cpu-only", action="store_true", help="leave the GPUs alone")
    parser.add_argument(
        "--force-gpu-idxs", metavar="N[,N]",
        help="the GPUs to use, without asking; several take an equal share of the batch each",
    )  # fmt: skip
    parser.add_argument(
        "--workers", metavar="HOST:PORT,HOST:PORT",
        help="train on several machines: a free port of each, the same list everywhere; the first one saves",
    )  # fmt: skip
    parser.add_argument(
        "--worker-index", type=int, metavar="N",
        help="which of --workers this machine is, from 0; TF_CONFIG in place of both is understood, too",
    )  # fmt: skip
    parser.add_argument(
        "--silent-start", action="store_true",
        help="the newest model and the best device, unasked; a new model takes what Enter would take",
    )  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE",
        help="a model option by its name, such as batch_size=8; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--target-iter", type=_positive, metavar="N",
        help="save and end at this iteration; unlike the option target_iter it holds for this run only",
    )  # fmt: skip
    parser.add_argument(
        "--execute-program", action="append", nargs=2, default=[], metavar=("SECONDS", "CODE"),
        help="run the Python text CODE as a program of its own: once, SECONDS after the start, or, below 0, "
        "again and again so far apart; may be repeated",
    )  # fmt: skip


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number from 1")
    return int(text)


def expand(parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """`argv` with what the file of `--config` says put before it, so that it wins over the file.

    Raises:
        UsageError: The file cannot be read, or says something that no flag can.
    """
    finder = argparse.ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    finder.add_argument("--model")
    for name in TEAM:
        finder.add_argument(f"--{name}")
    found = finder.parse_known_args(argv)[0]
    path = found.config
    if path is None:
        return argv
    record = _read(path.expanduser())
    flags = {
        name: action for action in parser._actions for name in _names(action) if name not in NOT_IN_FILES
    }
    used = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    displaced = used.union(*(DISPLACED.get(name, ()) for name in used))
    words: list[str] = []
    for key, value in record.items():
        if key == "options":
            words += _option_words(path, value, found.model or record.get("model"))
        elif key not in flags:
            near = difflib.get_close_matches(key.replace("_", "-"), [*flags, "options"], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are options, {', '.join(flags)}"
            raise UsageError(f"{path}: there is no {key!r}; {hint}")
        else:
            given = _flag_words(path, key, flags[key], value)
            words += [] if key in displaced else given
    _check_team(path, record, {name: getattr(found, name.replace("-", "_")) for name in TEAM})
    return [*words, *argv]


def _check_team(path: Path, record: Mapping[str, Any], typed: Mapping[str, str | None]) -> None:
    """Let the error of a team name the file where that says whose it is, or which of them this machine is.

    Args:
        typed: What the command line says of the same.
    """
    from core.nn.cluster import find_cluster

    workers, index = (record.get(name) if text is None else text for name, text in typed.items())
    with contextlib.suppress(ValueError):  # the parser refuses a typed index that is no number
        number = None if index is None else int(index)
        if any(name in record and text is None for name, text in typed.items()):
            _refuse_in(path, lambda: find_cluster(workers, number, {}))


def _names(action: argparse.Action) -> list[str]:
    return [text[2:] for text in action.option_strings if text.startswith("--")]


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_doubles)
    except OSError as err:
        raise UsageError(f"{path}: cannot be read: {err.strerror}; give --config a file that exists") from err
    except UnicodeDecodeError as err:
        raise UsageError(f"{path}: is no text in UTF-8; save it as such") from err
    except (ValueError, RecursionError) as err:
        raise UsageError(f"{path}: is no JSON: {err}") from err
    if not isinstance(record, dict):
        raise UsageError(f'{path}: holds no table; write {{"model": "SAEHD", ...}}')
    return record


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return record


def _option_words(path: Path, value: Any, kind: Any) -> list[str]:
    from models import MODEL_KINDS, options_class

    if not isinstance(value, dict):
        raise UsageError(f'{path}: options must be a table such as {{"batch_size": 8}}')
    pairs = [f"{name}={_text(path, f'options: {name}', entry)}" for name, entry in value.items()]
    if isinstance(kind, str) and kind in MODEL_KINDS:
        _refuse_in(path, lambda: options_class(kind).parse_pairs(pairs))
    return [f"--option={pair}" for pair in pairs]


def _flag_words(path: Path, key: str, action: argparse.Action, value: Any) -> list[str]:
    """The words of the command line that say the same."""
    from mainscripts.training_choice import parse_indices
    from mainscripts.training_programs import parse_programs

    flag = f"--{key}"
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} must be true or false, not {value!r}")
        return [flag] if value else []
    if key == "training-data-dir":
        if not isinstance(value, dict):
            raise UsageError(f'{path}: {key} must be a table such as {{"ann": "FOLDER", "bob": "FOLDER"}}')
        return [f"{flag}={name}={_text(path, f'{key}: {name}', folder)}" for name, folder in value.items()]
    if key == "execute-program":
        if not isinstance(value, list) or not all(
            isinstance(pair, list) and len(pair) == 2 for pair in value
        ):
            raise UsageError(f'{path}: {key} must be a list such as [[-3600, "print(1)"]]')
        pairs = [[_text(path, key, part) for part in pair] for pair in value]
        _refuse_in(path, lambda: parse_programs(pairs))
        return [word for pair in pairs for word in (flag, *pair)]
    text = _text(path, key, value)
    if isinstance(value, bool):
        raise UsageError(f"{path}: {key} must be a text or a number, not {text}")
    if action.choices is not None and text not in action.choices:
        raise UsageError(f"{path}: {key} {text!r} is not allowed; give {', '.join(action.choices)}")
    if key == "force-gpu-idxs":
        _refuse_in(path, lambda: parse_indices(text))
    try:
        action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as err:
        raise UsageError(f"{path}: {key}: {err}") from err
    except ValueError as err:  # of `int`
        raise UsageError(f"{path}: {key} {text!r} is not allowed; give a whole number") from err
    return [f"{flag}={text}"]


def _refuse_in(path: Path, parse: Callable[[], object]) -> None:
    """Let the error of a value name the file that it stands in."""
    try:
        parse()
    except UsageError as err:
        raise UsageError(f"{path}: {err}") from err


def _text(path: Path, key: str, value: Any) -> str:
    """A value as the command line spells it."""
    if isinstance(value, bool):
        return "y" if value else "n"
    if not isinstance(value, (str, int, float)):
        raise UsageError(f"{path}: {key} must be a text, a number, true or false, not {value!r}")
    return value if isinstance(value, str) else repr(value)


def people(args: argparse.Namespace) -> dict[str, Path]:
    """The folder of each person: `src` and `dst`, or those of a comb model by name.

    Raises:
        UsageError: Neither way is followed to the end, or both are begun.
    """
    from models.face_options import person_names

    folders = dict(zip(SIDES, (args.training_data_src_dir, args.training_data_dst_dir), strict=True))
    if not args.training_data_dir:
        missing = [side for side, folder in folders.items() if folder is None]
        if missing:
            raise UsageError(f"--training-data-{missing[0]}-dir is missing: {TWO_WAYS}")
        return folders
    if any(folder is not None for folder in folders.values()):
        raise UsageError(f"--training-data-dir replaces --training-data-src-dir and -dst-dir: {TWO_WAYS}")
    pairs = [text.partition("=") for text in args.training_data_dir]
    for (name, _, folder), text in zip(pairs, args.training_data_dir, strict=True):
        if not name or not folder or "," in name:
            raise UsageError(f"--training-data-dir {text!r}: write it as NAME=FOLDER")
    try:
        names = person_names(",".join(name for name, _, _ in pairs))
    except UsageError as err:
        raise UsageError(f"--training-data-dir: {err}") from err
    _require_comb(args.model)
    return {name: Path(folder) for name, (_, _, folder) in zip(names, pairs, strict=True)}


def _require_comb(kind: str) -> None:
    from models import options_class

    if "persons" not in options_class(kind).specs():
        raise UsageError(
            f"--training-data-dir: {kind} learns two persons; give --training-data-src-dir and "
            "--training-data-dst-dir, or --model SAEHD"
        )


def persons_option(folders: Mapping[str, Path]) -> list[str]:
    """What makes a new model a comb of these persons; nothing for `src` and `dst`, in either order."""
    return [] if set(folders) == set(SIDES) else [f"persons={','.join(folders)}"]


def with_joining(folders: Mapping[str, Path], chosen: Choice) -> Choice:
    """`chosen` with the persons who join a saved model of several; they come after those it has."""
    names = getattr(chosen.options, "person_names", ())
    joining = [name for name in folders if name not in names]
    if not names or chosen.is_new or not joining or set(names) - set(folders):
        return chosen
    return replace(chosen, options=chosen.options.changed(persons=",".join([*names, *joining])))


def in_models_order(folders: Mapping[str, Path], chosen: Choice) -> dict[str, Path]:
    """The folders in the order of the model's persons.

    Raises:
        UsageError: They are not those of the model.
    """
    names = getattr(chosen.options, "person_names", ()) or SIDES
    if set(folders) != set(names):
        way = "--training-data-src-dir and --training-data-dst-dir"
        if names != SIDES:
            way = " ".join(f"--training-data-dir {name}=FOLDER" for name in names)
        raise UsageError(
            f"{chosen.name} is a model of {', '.join(names)}, not {', '.join(folders)}; give {way}"
        )
    return {name: folders[name] for name in names}
