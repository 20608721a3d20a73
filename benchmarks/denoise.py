"""Noise removed against detail kept and ghosts made: DFL's hqdn3d and our motion method, on noisy clips.

    python benchmarks/denoise.py CLIP [CLIP ...] [--frames 12] [--pictures FOLDER]

The clip as it is counts as clean; noise is added: white, or grain that is coarser than a pixel. `psnr` is of
whole pictures, `moving` of the regions that move by more than 2 pixels a frame, where ghosts would be;
`detail` is the share of the clean picture's fine contrast that is left (1 is all of it); `left` is the
standard deviation of what differs from the clean picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import decode_frames, denoise, probe

NOISES = (("white", 5.0), ("white", 12.0), ("grain", 8.0))
METHODS = (("hqdn3d", 3), ("hqdn3d", 7), ("hqdn3d", 14), ("motion", 3), ("motion", 7), ("motion", 14))
FIRST = 10  # frame of the clip that the row begins with
MOVING = 2.0  # pixels a frame
FINE = 6.0  # levels of fine contrast that count as detail


def add_noise(clean: list[np.ndarray], kind: str, sigma: float) -> list[np.ndarray]:
    """The frames with noise of a standard deviation of `sigma` levels, another in each."""
    rng = np.random.default_rng(0)
    frames = []
    for image in clean:
        noise = rng.normal(0, 1, image.shape)
        if kind == "grain":  # mostly of brightness, as cameras leave it
            luma = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]), (0, 0), 0.8)[..., None]
            chroma = cv2.GaussianBlur(noise, (0, 0), 1.5)
            noise = 0.85 * luma / luma.std() + 0.5 * chroma / chroma.std()
        frames.append(np.clip(np.rint(image + sigma * noise), 0, 255).astype(np.uint8))
    return frames


def moving_mask(clean: list[np.ndarray], index: int) -> np.ndarray:
    """(H, W) bool: what moves, and its surroundings."""
    before, now = (cv2.cvtColor(clean[i], cv2.COLOR_BGR2GRAY) for i in (index - 1, index))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(now, before, None)
    fast = (np.linalg.norm(flow, axis=2) > MOVING).astype(np.uint8)
    return cv2.dilate(fast, np.ones((9, 9), np.uint8)) > 0


def measure(results: list[np.ndarray], clean: list[np.ndarray]) -> dict[str, float]:
    rows: dict[str, list[float]] = {"psnr": [], "moving": [], "detail": [], "left": []}
    for index in range(2, len(clean) - 2):
        error = results[index].astype(np.float32) - clean[index]
        rows["psnr"].append(psnr(error))
        mask = moving_mask(clean, index)
        if mask.mean() > 0.005:
            rows["moving"].append(psnr(error[mask]))
        fine, theirs = high_pass(clean[index]), high_pass(results[index])
        strong = np.abs(fine) > FINE
        rows["detail"].append(float((theirs[strong] * fine[strong]).sum() / np.square(fine[strong]).sum()))
        rows["left"].append(float(error.std()))
    return {key: float(np.mean(values)) if values else float("nan") for key, values in rows.items()}


def psnr(error: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)))


def high_pass(image: np.ndarray) -> np.ndarray:
    image = image.astype(np.float32)
    return image - cv2.GaussianBlur(image, (0, 0), 1.5)


def run_method(noisy: list[np.ndarray], method: str, factor: int) -> tuple[list[np.ndarray], float]:
    """The frames denoised as `videoed` does it, and the seconds for each."""
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(noisy, 1):
            write_image(Path(folder) / f"{number:05}.png", image)
        images = list_images(Path(folder))
        begin = time.perf_counter()
        denoise(images, factor, method=method)
        seconds = (time.perf_counter() - begin) / len(images)
        return [read_image(path) for path in images], seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--pictures", type=Path, help="write the middle frame of each run there")
    args = parser.parse_args()
    for clip in args.clips:
        frames = decode_frames(probe(clip))
        clean = [image[..., ::-1].copy() for image, _ in zip(frames, range(FIRST + args.frames))][FIRST:]
        for kind, sigma in NOISES:
            noisy = add_noise(clean, kind, sigma)
            print(f"{clip.name} {clean[0].shape[1]}x{clean[0].shape[0]}, {kind} noise of {sigma:g} levels")
            show("noisy", measure(noisy, clean), 0.0)
            for method, factor in METHODS:
                results, seconds = run_method(noisy, method, factor)
                show(f"{method} {factor}", measure(results, clean), seconds)
                if args.pictures:
                    args.pictures.mkdir(parents=True, exist_ok=True)
                    name = f"{clip.stem} {kind} {sigma:g} {method} {factor}.png"
                    write_image(args.pictures / name, results[len(results) // 2])
    return 0


def show(name: str, values: dict[str, float], seconds: float) -> None:
    figures = "  ".join(f"{key} {value:6.3f}" for key, value in values.items())
    print(f"  {name:<12}{figures}" + (f"  {seconds:.2f} s a frame" if seconds else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
