"""`facesettool enhance`: faces with finer detail by DFL's FaceEnhancer network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core import storage
from core.errors import SampleError, SwapError
from core.imageio import encode_image
from core.interact.prompts import Prompter
from core.parallel import map_in_order
from facelib.face_jpeg import decode_face, embed_values, parse_values
from mainscripts.extract_options import gpu_indices
from mainscripts.facesettool_job import Workplace, offer_merging, open_workplace, settle, show_result

QUALITY = 100  # DFL's
WEIGHTS = "FaceEnhancer"


def enhance(folder: Path, prompter: Prompter, args: argparse.Namespace) -> int:
    """Enhance every face at its size; metadata stays as it is.

    Raises:
        SwapError: The network's weights are not here.
    """
    from facelib import weights

    gpus = gpu_indices(args)
    if not weights.ensure(WEIGHTS, lambda question: prompter.ask_bool(question, True)):
        raise SwapError(
            f"the weights of {WEIGHTS} are not here; `main.py weights fetch {WEIGHTS}` gets them, "
            "`main.py weights import` takes DFL's FaceEnhancer.npy"
        )
    place = open_workplace(folder, "enhanced", {"tool": "enhance"})
    if place.finished:
        return 0
    pending = place.pending()
    if pending:
        settle(place, _enhanced(place, pending, args.cpu_only, gpus), "Enhancing", len(pending))
    show_result(place)
    offer_merging(place, prompter, args.merge_back)
    return 0


def _enhanced(
    place: Workplace, paths: list[Path], cpu_only: bool, gpus: list[int] | None
) -> Iterator[tuple[Path, str | None]]:
    """Read ahead and write behind in threads; the network takes one face after another."""
    from core.nn import devices
    from facelib.enhancer import FaceEnhancer

    print(f"Computing on {devices.prepare(cpu_only, gpus).describe()}.")
    enhancer = FaceEnhancer()

    def work(path: Path) -> tuple[Path, str | None]:
        try:
            data = path.read_bytes()
            image, _ = decode_face(data, path.name)
            (large,) = enhancer.enhance([image.astype(np.float32) / 255])
            jpeg = encode_image(".jpg", np.rint(large * 255).astype(np.uint8), QUALITY)
            _, values = parse_values(data, path.name)
            storage.write_bytes(place.goal(path), embed_values(jpeg, values, path.name), durable=False)
        except OSError as err:
            return path, f"cannot be read or written ({err.strerror})"
        except SampleError as err:
            return path, str(err)
        return path, None

    yield from map_in_order(work, paths, workers=3, ahead=3)
