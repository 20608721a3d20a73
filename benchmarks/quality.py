"""How soon a training shows the face: reconstruction error on held-back frames against training time.

Trains a model by DFL's recipe and by ours in one run, in turns, on the same faces. Every tenth face of both
persons is held back; of these each person's own decoder must repeat the face. Waiting for samples counts as
training time, evaluation does not. Swaps of the destination's faces are judged, too: does the mouth follow,
and whom do they look like (`benchmarks/swaps.py`)?

    python benchmarks/quality.py [--model SAEHD --option archi=df-ud ...] [--src FACES --dst FACES]
                                 [--output FOLDER] [--dfl-seconds 780] [--fast-seconds 240]

Quick96 trains by `recipe=dfl` and `recipe=fast`, SAEHD as DFL does (`dfl_compat=y`) and as ours does by
default. Without --src and --dst the faces are extracted from ../shared/data/clips first. Writes `errors.csv`,
`errors.png` and `faces.jpg` (held-back faces, their reconstructions and the swap) to the output folder.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import models
from core.imageio import write_image
from mainscripts.training_batches import SIDES, Batches
from samplelib import AugmentOptions, BatchLoader, Faceset, SampleRequest, SampleSpec

CONTENDERS = {  # options by kind of model and name in the report
    "Quick96": {"dfl": {"recipe": "dfl"}, "fast": {"recipe": "fast"}},
    "SAEHD": {"dfl": {"recipe": "dfl", "dfl_compat": True}, "fast": {"recipe": "fast"}},
}
HELD_BACK = 10  # every such face
SHOWN = 4  # faces of the sheet; also the most that one preview draws
SHOWN_HEIGHT = 800  # pixels, of SAEHD's previews
SWAPS = 75  # faces of the destination, from all over, whose swaps are judged
METRICS = ("dssim", "mse")
COLORS = {"dfl": (200, 80, 40), "fast": (40, 80, 220)}  # BGR


@dataclass(frozen=True)
class Point:
    """The errors of one evaluation, means over both persons' held-back faces."""

    seconds: float  # of training
    iteration: int
    dssim: float
    mse: float
    per_side: dict[str, tuple[float, float]]


@dataclass
class Contender:
    """One recipe in training."""

    recipe: str
    budget: float
    model: object
    batches: Batches
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)

    def train(self, seconds: float) -> None:
        """Train for about that long, at most to the end of the budget."""
        end = min(self.seconds + seconds, self.budget)
        started = time.perf_counter()
        if not self.model.iteration:
            self.model.prime(self.batches.by_number)  # what the trainer does first
        self.seconds += time.perf_counter() - started
        while self.seconds < end:
            started = time.perf_counter()
            self.model.train_step(self.batches.get(self.model.iteration))
            self.seconds += time.perf_counter() - started


def main() -> int:
    args = _arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.src is None or args.dst is None:
            args.src, args.dst = extract_clips(args.clips, Path(folder))
        training, held = {}, {}
        for side, path in zip(SIDES, (args.src, args.dst)):
            training[side], held[side] = split(Faceset.open(path))
            print(f"{side}: {len(training[side])} faces to train on, {len(held[side])} held back", flush=True)
        budgets = {"dfl": args.dfl_seconds, "fast": args.fast_seconds}
        contenders = [start(args, recipe, budget, training) for recipe, budget in budgets.items()]
        faces = {side: load_faces(held[side], side, contenders[0].model) for side in SIDES}
        everyone = {side: load_faces(training[side], side, contenders[0].model) for side in SIDES}
        print(f"computes in {contenders[0].model.precision.describe()}", flush=True)
        run_in_turns(contenders, faces, args.slice)
        for contender in contenders:
            contender.batches.close()
    report(contenders, args.output)
    for contender in contenders:
        print(f"{contender.recipe} swaps: {judge_swaps(contender.model, everyone)}", flush=True)
    write_image(args.output / "faces.jpg", contact_sheet(contenders, faces))
    write_image(args.output / "errors.png", plot(contenders))
    print(f"written to {args.output}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=CONTENDERS, default="Quick96", help="default: %(default)s")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of both models")
    parser.add_argument("--src", type=Path, help="aligned faces of the source")
    parser.add_argument("--dst", type=Path, help="aligned faces of the destination")
    parser.add_argument("--clips", type=Path, default=ROOT.parent / "shared" / "data" / "clips")
    parser.add_argument("--output", type=Path, default=Path("quality"), help="default: %(default)s")
    parser.add_argument("--dfl-seconds", type=float, default=780.0, help="default: %(default)s")
    parser.add_argument("--fast-seconds", type=float, default=240.0, help="default: %(default)s")
    parser.add_argument("--slice", type=float, default=30.0, help="seconds of a turn (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def extract_clips(clips: Path, work: Path) -> tuple[Path, Path]:
    """Aligned faces of both clips, made with our own commands."""
    found = []
    for clip in ("person_a.mp4", "person_b.mp4"):
        frames = work / clip.partition(".")[0]
        commands = (
            ("videoed", "extract-video", "--input-file", str(clips / clip), "--output-dir", str(frames)),
            ("extract", "--input-dir", str(frames), "--output-dir", str(frames / "aligned")),
        )
        for command in commands:
            subprocess.run([sys.executable, "main.py", *command, "--no-prompt"], cwd=ROOT, check=True)
        found.append(frames / "aligned")
    return found[0], found[1]


def split(faceset: Faceset) -> tuple[Faceset, Faceset]:
    """The faces to train on and those held back."""
    held = [sample for number, sample in enumerate(faceset.samples) if number % HELD_BACK == HELD_BACK // 2]
    kept = [sample for number, sample in enumerate(faceset.samples) if number % HELD_BACK != HELD_BACK // 2]
    return Faceset(faceset.path, kept, {}), Faceset(faceset.path, held, {})


def start(args: argparse.Namespace, recipe: str, budget: float, facesets: dict[str, Faceset]) -> Contender:
    kind = models.options_class(args.model)
    values = {**kind.parse_pairs(args.option), **CONTENDERS[args.model][recipe]}
    model = models.create_model(args.model, kind(seed=args.seed, **values))
    return Contender(recipe, budget, model, Batches(model, facesets))


def load_faces(faceset: Faceset, side: str, model) -> dict[str, np.ndarray]:
    """All faces of the set as the network sees them, unwarped, masks and landmarks; named as in a batch."""
    specs = (
        SampleSpec(f"target_{side}", "image"),
        SampleSpec(f"target_{side}_mask", "mask"),
        SampleSpec(f"landmarks_{side}", "landmarks"),
    )
    still = AugmentOptions(transform=False)
    request = SampleRequest(specs, model.resolution, model.face_type, len(faceset), still)
    with BatchLoader(faceset, request, 0, 0, workers=0) as loader:
        return loader.get(0)


def run_in_turns(contenders: list[Contender], faces: dict[str, dict[str, np.ndarray]], turn: float) -> None:
    """Whoever has used the smaller part of its time trains next; each turn ends with an evaluation."""
    for contender in contenders:
        contender.points.append(evaluate(contender, faces))
    while True:
        waiting = [c for c in contenders if c.seconds < c.budget]
        if not waiting:
            return
        contender = min(waiting, key=lambda c: c.seconds / c.budget)
        contender.train(turn)
        point = evaluate(contender, faces)
        contender.points.append(point)
        print(
            f"{contender.recipe:>5} {point.seconds:6.0f} s  iteration {point.iteration:5}  "
            f"DSSIM {point.dssim:.4f}  MSE {point.mse:.5f}",
            flush=True,
        )


def evaluate(contender: Contender, faces: dict[str, dict[str, np.ndarray]]) -> Point:
    per_side = {}
    shown = show_all(contender.model, faces)
    for side in SIDES:
        target, mask = faces[side][f"target_{side}"], faces[side][f"target_{side}_mask"]
        errors = [face_errors(*triple) for triple in zip(target, shown[side], mask)]
        per_side[side] = tuple(np.mean(errors, axis=0))
    dssim, mse = np.mean(list(per_side.values()), axis=0)
    return Point(contender.seconds, contender.model.iteration, float(dssim), float(mse), per_side)


def show_all(model, faces: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Reconstructions of every held-back face and the swaps of those of dst, from the model's preview."""
    counts = {side: len(faces[side][f"target_{side}"]) for side in SIDES}
    size, found = model.resolution, {"src": [], "dst": [], "swap": []}
    height = max(1, min(SHOWN, SHOWN_HEIGHT // size))
    for first in range(0, max(counts.values()), height):
        rows = {side: (first + np.arange(height)) % counts[side] for side in SIDES}
        batch = {key: array[rows[side]] for side in SIDES for key, array in faces[side].items()}
        columns = np.split(model.preview(batch)[model.kind], 5, axis=1)
        for name, column in (("src", 1), ("dst", 3), ("swap", 4)):
            found[name] += list(columns[column].reshape(height, size, size, 3))
    counts["swap"] = counts["dst"]
    return {name: np.stack(images[: counts[name]]) for name, images in found.items()}


def judge_swaps(model, faces: dict[str, dict[str, np.ndarray]]) -> str:
    """What `benchmarks/swaps.py` says of swaps of faces that were trained on, from all over the clip."""
    from swaps import Swaps  # beside this file

    rows = np.unique(np.linspace(0, len(faces["dst"]["target_dst"]) - 1, SWAPS).astype(int))
    dst = {key: array[rows] for key, array in faces["dst"].items()}
    swaps = show_all(model, {"src": faces["src"], "dst": dst})["swap"]
    src = faces["src"]
    return str(
        Swaps(swaps, dst["landmarks_dst"]).judged(dst["target_dst"], src["target_src"], src["landmarks_src"])
    )


def face_errors(target: np.ndarray, shown: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """DSSIM and MSE inside the mask; images (R, R, 3) float32 in [0, 1], mask (R, R, 1).

    SSIM as in Wang et al. 2004 (Gaussian window of 11 pixels, sigma 1.5), DSSIM = (1 - SSIM) / 2.
    """
    weight = mask / max(float(mask.sum()), 1e-6) / 3
    return float((dssim_map(target, shown) * weight).sum()), float(((target - shown) ** 2 * weight).sum())


def dssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (11, 11), 1.5)

    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    ssim = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ssim /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return (1 - ssim) / 2


def time_to_reach(points: list[Point], metric: str, level: float) -> float | None:
    """Training seconds until the error falls to `level`, between evaluations on a straight line."""
    for before, after in itertools.pairwise(points):
        high, low = getattr(before, metric), getattr(after, metric)
        if low <= level:
            part = (high - level) / (high - low) if high > low else 0.0
            return before.seconds + max(0.0, part) * (after.seconds - before.seconds)
    return None


def report(contenders: list[Contender], output: Path) -> None:
    """Print the verdict and write the table."""
    lines = ["recipe,seconds,iteration,dssim,mse,dssim_src,mse_src,dssim_dst,mse_dst"]
    for contender in contenders:
        for point in contender.points:
            numbers = [point.dssim, point.mse, *(value for side in SIDES for value in point.per_side[side])]
            shown = ",".join(f"{number:.6f}" for number in numbers)
            lines.append(f"{contender.recipe},{point.seconds:.1f},{point.iteration},{shown}")
    (output / "errors.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dfl, fast = contenders
    last = dfl.points[-1]
    print(f"dfl after {last.seconds:.0f} s: DSSIM {last.dssim:.4f}, MSE {last.mse:.5f}")
    for metric in METRICS:
        seconds = time_to_reach(fast.points, metric, getattr(last, metric))
        when = f"not within {fast.seconds:.0f} s" if seconds is None else f"after {seconds:.0f} s"
        print(f"fast reaches that {metric.upper()} {when} (wanted: {fast.budget:.0f} s)")


def contact_sheet(contenders: list[Contender], faces: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    """Per row: source, its reconstruction by each recipe; destination, its reconstructions, the swaps."""
    shown = {contender.recipe: show_all(contender.model, faces) for contender in contenders}
    columns, titles = [], []
    for side in SIDES:
        target = faces[side][f"target_{side}"]
        picks = np.linspace(0, len(target) - 1, SHOWN).astype(int)
        columns.append(target[picks])
        titles.append(side)
        for name in (side, "swap") if side == "dst" else (side,):
            for recipe, images in shown.items():
                columns.append(images[name][picks])
                titles.append(f"{recipe} {name}" if name == "swap" else recipe)
    sheet = np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)
    sheet = np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)
    sheet = cv2.resize(sheet, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    header = np.full((24, sheet.shape[1], 3), 255, np.uint8)
    for number, title in enumerate(titles):
        x = 4 + number * sheet.shape[1] // len(titles)
        cv2.putText(header, title, (x, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, sheet])


def plot(contenders: list[Contender], width: int = 480, height: int = 360) -> np.ndarray:
    """Error against time, one field per metric, logarithmic upwards."""
    fields = []
    for metric in METRICS:
        image = np.full((height, width, 3), 255, np.uint8)
        values = np.log([getattr(point, metric) for c in contenders for point in c.points[1:]])
        low, high = values.min(), max(values.max(), values.min() + 1e-6)
        longest = max(c.seconds for c in contenders)
        for contender in contenders:
            line = [
                (
                    20 + (width - 40) * point.seconds / longest,
                    30 + (height - 60) * (high - np.log(getattr(point, metric))) / (high - low),
                )
                for point in contender.points[1:]
            ]
            curve = np.rint(line).astype(np.int32)
            cv2.polylines(image, [curve], False, COLORS[contender.recipe], 2, cv2.LINE_AA)
            place = (int(curve[-1, 0]) - 40, int(curve[-1, 1]) - 8)
            cv2.putText(image, contender.recipe, place, 0, 0.5, COLORS[contender.recipe], 1, cv2.LINE_AA)
        text = f"{metric.upper()} {np.exp(high):.4f} to {np.exp(low):.4f}, 0 to {longest:.0f} s"
        cv2.putText(image, text, (20, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        fields.append(image)
    return np.concatenate(fields, axis=1)


if __name__ == "__main__":
    sys.exit(main())
