"""Weights of pretrained networks (S3FD, 2DFAN, 3DFAN, FaceEnhancer): what is here, fetching, importing."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from core.errors import SwapError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    actions.add_parser("list", help="which weights are present, where, and whether their checksums are right")

    fetch = actions.add_parser(
        "fetch", help="download them from DeepFaceLab's repository", allow_abbrev=False
    )
    fetch.add_argument("names", metavar="NAME", nargs="*", help="which ones; without a name all of them")

    bring = actions.add_parser("import", help="take files that you have", allow_abbrev=False)
    bring.add_argument("files", metavar="FILE", nargs="+", type=Path, help="one of DeepFaceLab's .npy files")
    bring.add_argument(
        "--any-checksum",
        action="store_true",
        help="also a file with other numbers in it (own research); its name must tell which one it is",
    )
    actions.add_parser("where", help="print the folder in which they are kept")


def run(args: argparse.Namespace) -> int:
    """Do the action that was chosen; returns the exit code."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": list_weights,
        "fetch": fetch_weights,
        "import": import_weights,
        "where": print_where,
    }
    return actions[args.action](args)


def list_weights(args: argparse.Namespace) -> int:
    """Print a table of all weights; the checksums of those that are here are computed."""
    from facelib.weights import FOLDER_VARIABLE, WEIGHTS, further_folder, where
    from facelib.weights.status import status_of

    rows = [("name", "present", "size", "verified", "for", "where")]
    for name, entry in WEIGHTS.items():
        status = status_of(name)
        rows.append((name, status.present, status.size, status.verified, entry.purpose, status.where))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip())
    print(f"Folder: {where()}")
    folder = further_folder()
    if folder is not None:
        print(f"{FOLDER_VARIABLE}: {folder}" + ("" if folder.is_dir() else " (no such folder)"))
    return 0


def fetch_weights(args: argparse.Namespace) -> int:
    """Download what is named; what fails is told, and the others are fetched all the same."""
    from facelib.weights import LICENCE, WEIGHTS, fetch, weight_file

    names = list(dict.fromkeys(weight_file(name).name for name in args.names)) or list(WEIGHTS)
    print(LICENCE)
    return _each(names, lambda name: fetch(name), "fetched")


def import_weights(args: argparse.Namespace) -> int:
    """Take files over; what fails is told, and the others are taken all the same."""
    from facelib.weights import import_file

    def bring(path: Path) -> None:
        print(f"{path.name}: imported as {import_file(path, args.any_checksum)}")

    return _each(args.files, bring, "imported")


def _each(items: list, act: Callable, done: str) -> int:
    """Act on every item; with several, one that fails does not keep the others from it.

    Raises:
        SwapError: At least one failed; the only one as it is.
    """
    failed = []
    for item in items:
        try:
            act(item)
        except SwapError as err:
            if len(items) == 1:
                raise
            failed.append(str(item))
            print(err, flush=True)
    if failed:
        raise SwapError(f"{len(failed)} of {len(items)} could not be {done}: {', '.join(failed)}; see above")
    return 0


def print_where(args: argparse.Namespace) -> int:
    from facelib.weights import where

    print(where())
    return 0
