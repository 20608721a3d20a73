"""Face replacement in video: frames, faces, training, merging. One subcommand for each step."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys

from core.errors import SwapError

COMMANDS = {
    "clear-workspace": "make room for the next job; videos stay, what took long is asked about",
    "videoed": "cut videos into frames and make videos of frames",
    "extract": "find, align and save the faces of a folder of frames",
    "sort": "sort faces by sharpness, pose, likeness and more, and rename them in that order",
    "train": "train a model on two facesets",
    "merge": "put the predicted face into every frame",
    "exportdfm": "write a trained model as a .dfm file (ONNX) for live swapping",
    "exportdfl": "write a trained model as DeepFaceLab saves one",
    "util": "pack, unpack, rename, report; metadata, debug and mask pictures of a folder of faces",
    "facesettool": "enhance, resize or cut again the faces of a folder",
    "weights": "list, fetch and import the weights of pretrained networks",
    "demo": "the whole job in one command, on two clips or on two drawn people",
}
SCREENS = ("auto", "window", "browser", "none")
ADVICE = {
    errno.ENOSPC: "free some space and start the command again",
    errno.EACCES: "allow this user to use it, or choose another path",
    errno.EPERM: "allow this user to use it, or choose another path",
    errno.EROFS: "choose another path",
}


def add_shared_flags(parser: argparse.ArgumentParser, nested: bool = False) -> None:
    """The flags that every subcommand takes; `nested` is for the actions inside it, which take them too."""
    group = parser.add_argument_group("everywhere")
    # An inner parser must not put its defaults over what was said before the action's name.
    off, auto = (argparse.SUPPRESS, argparse.SUPPRESS) if nested else (False, "auto")
    group.add_argument(
        "--no-prompt",
        action="store_true",
        default=off,
        help="ask nothing: each question takes its default, printed",
    )
    group.add_argument("--debug", action="store_true", default=off, help="show the traceback of an error")
    group.add_argument(
        "--screen", choices=SCREENS, default=auto, help="where pictures are shown (default: auto)"
    )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                add_shared_flags(inner, nested=True)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the first word; what follows it is parsed by the subcommand's own."""
    parser = argparse.ArgumentParser(prog="main.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse a whole command line without running it; `command` and `script` name what would run.

    Raises:
        SystemExit: With code 2 for wrong usage, 0 after help.
        SwapError: A file that stands for a part of it cannot be used.
    """
    parser = build_parser()
    if not argv:
        parser.print_help()
        raise SystemExit(0)
    chosen, rest = parser.parse_known_args(argv[:1])[0], argv[1:]
    script = importlib.import_module(f"mainscripts.{chosen.command.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"main.py {chosen.command}", description=script.__doc__, allow_abbrev=False
    )
    script.add_arguments(parser)
    add_shared_flags(parser)
    if hasattr(script, "expand"):  # a file may hold a part of the command line
        rest = script.expand(parser, rest)
    args = parser.parse_args(rest)
    args.command, args.script = chosen.command, script
    return args


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    debug = False
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        debug = args.debug
        code = args.script.run(args)
        sys.stdout.flush()  # while an error of it can still be told
        return code
    except SwapError as err:
        if debug:
            raise
        _print_error(str(err))
        return err.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return 130
    except BrokenPipeError:  # nobody reads on, as in `main.py extract ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it once more
        return 130
    except OSError as err:
        if debug or (err.filename is None and err.errno != errno.ENOSPC):
            raise  # not about a file the user named: a bug of ours
        place = f"{err.filename}: " if err.filename else ""
        advice = ADVICE.get(err.errno or 0, "check it and start the command again")
        _print_error(f"{place}{err.strerror}; {advice}")
        return 1


def _print_error(text: str) -> None:
    """One line on standard error, its first word red on a terminal (also Windows' own)."""
    word = "error:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        import colorama

        colorama.just_fix_windows_console()
        word = f"{colorama.Fore.RED}{word}{colorama.Style.RESET_ALL}"
    print(word, text, file=sys.stderr, flush=True)


def _settle_streams() -> None:
    """Open what the caller closed, and let names of files in any script be printed, also under Windows."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole run
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    _settle_streams()
    code = main()
    try:
        sys.stdout.flush()
    except OSError:  # told already; Python would tell it again at its end
        os._exit(code or 1)
    os._exit(code) if code == 130 else sys.exit(code)
