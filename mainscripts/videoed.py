"""Cut videos into frames, cut pieces out of them, take noise out of frames, make videos of frames."""

from __future__ import annotations

import argparse
import importlib

from mainscripts.videoed_options import add_actions

ACTIONS = {
    "extract-video": ("videoed_extract", "extract_video"),
    "cut-video": ("videoed_cut", "cut_video"),
    "denoise-image-sequence": ("videoed_denoise", "denoise_image_sequence"),
    "video-from-sequence": ("videoed_encode", "video_from_sequence"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions and their flags."""
    add_actions(parser)


def run(args: argparse.Namespace) -> int:
    """Do the action that was chosen; returns the exit code."""
    module, function = ACTIONS[args.action]
    return getattr(importlib.import_module(f"mainscripts.{module}"), function)(args)
