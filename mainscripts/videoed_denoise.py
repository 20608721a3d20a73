"""`videoed denoise-image-sequence`: less noise in every frame of a folder, in place."""

from __future__ import annotations

import argparse
from dataclasses import replace

from core.interact.progress import Progress
from core.interact.prompts import get_prompter
from mainscripts.videoed_options import DenoiseOptions
from mainscripts.videoed_questions import advance, ask_number

DENOISE_HELP = (
    "How strong. hqdn3d: 7 is usual, 20 smears. motion: 7 forgives as much as the noise that is measured and "
    "looks at 3 frames before and after; less is gentler and faster, more takes up to 7 on each side."
)


def denoise_image_sequence(args: argparse.Namespace) -> int:
    """Less noise in every frame of a folder, in place."""
    from core import video
    from core.video.denoising import FACTORS

    prompter = get_prompter(args)
    images = video.require_images(args.input_dir, "the folder of frames")
    factor = ask_number(prompter, args.factor, "Denoise factor", 7, FACTORS, DENOISE_HELP, flag="--factor")
    options = DenoiseOptions().ask(prompter, given=DenoiseOptions.given_by(args))
    begun, done = video.unfinished_run(images)
    if done:
        options = replace(options, method=video.unfinished_method(images))
        print(
            f"going on with a run that was stopped: {done} of {len(images)} frames are done "
            f"({options.method}, factor {begun})"
        )
        factor = begun
    with Progress("Denoising", len(images), "frame") as progress:
        video.denoise(images, factor, done, advance(progress), options.method)
    print(f"{len(images)} frames denoised in {args.input_dir}")
    return 0
