"""A video into numbered images, whole frames only, resumable.

A small file in the folder (`.frames.json`) says which video the frames are of and whether all are there.
ffmpeg writes each image under another name and renames it, so a frame that has its number is complete even
after a power cut or a kill; going on then means decoding up to the last frame that is there and writing from
it on.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from core import storage
from core.errors import FileFormatError, SwapError, VideoError
from core.paths import list_images, require_writable_folder
from core.video.colour import JPEG_TAGS
from core.video.probe import VideoInfo
from core.video.run import OnFrames, file_url, run

MANIFEST = ".frames.json"
VERSION = 1
FRAME_NAME = re.compile(r"\d{5,}\.(png|jpg)", re.IGNORECASE)
SUFFIXES = (".png", ".jpg")
DEPTHS = (8, 16)
SAMPLED_BYTES = 1 << 20  # of the head and of the tail of a video, to know it again
REWRITTEN = 2  # frames at the end of an interrupted run; a power cut can leave them named but empty
MAX_RANGES = 40  # pieces that lost frames are fetched in; more make ffmpeg's expression too long
ALL_FRAMES = Fraction(0)


@dataclass(frozen=True)
class Request:
    """What a folder of frames is made of; equal requests give equal frames."""

    video_name: str
    video_size: int
    video_sha256: str  # of its first and last MiB
    fps: str  # "0": each frame of the video once
    suffix: str
    depth: int = 8  # bits of each channel

    @classmethod
    def of(cls, video: Path, fps: Fraction, suffix: str, depth: int = 8) -> Request:
        """Describe a wish; reads 2 MiB of the video."""
        digest = hashlib.sha256()
        size = video.stat().st_size
        with video.open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
        return cls(video.name, size, digest.hexdigest(), str(fps), suffix, depth)

    def same_video(self, other: Request) -> bool:
        """Whether both are about one video; it may have been renamed since."""
        return (self.video_size, self.video_sha256) == (other.video_size, other.video_sha256)

    def same_frames(self, other: Request) -> bool:
        """Whether both give the same frames; the video may have been renamed since."""
        return asdict(self) | {"video_name": ""} == asdict(other) | {"video_name": ""}


@dataclass(frozen=True)
class FolderState:
    """What is in the output folder already.

    `kind` is `empty`, `complete`, `unfinished` (interrupted, `present` frames are good), `incomplete`
    (finished once, `missing` have gone since) or `foreign` (numbered images of something else, described by
    `origin`).
    """

    kind: str
    frames: tuple[Path, ...] = ()
    present: int = 0
    missing: tuple[int, ...] = ()
    origin: str = ""


def inspect_folder(folder: Path, request: Request) -> FolderState:
    """Compare the numbered frames in `folder` (which may be absent) with what `request` would write there."""
    frames = tuple(p for p in list_images(folder) if FRAME_NAME.fullmatch(p.name)) if folder.is_dir() else ()
    if not frames:
        return FolderState("empty")
    made, finished, count = read_manifest(folder)
    if made is None or not made.same_frames(request):
        return FolderState("foreign", frames, len(frames), origin=_origin(made, request))
    numbers = {int(p.stem) for p in frames if p.suffix.lower() == request.suffix}
    if not finished:
        present = next(n for n in range(len(numbers) + 1) if n + 1 not in numbers)
        return FolderState("unfinished", frames, present)
    missing = tuple(n for n in range(1, count + 1) if n not in numbers)
    return FolderState("incomplete" if missing else "complete", frames, len(numbers), missing)


def extract_frames(
    info: VideoInfo,
    folder: Path,
    fps: Fraction = ALL_FRAMES,
    suffix: str = ".png",
    present: int = 0,
    on_frames: OnFrames | None = None,
    depth: int = 8,
) -> int:
    """Write the frames of a video as `00001.png` and so on, as they are seen (rotated, RGB).

    Args:
        info: The video.
        folder: Made if absent. Frames of these numbers in it are replaced.
        fps: Frames per second, 0 for each frame of the video once.
        suffix: `.png`, or `.jpg` (quality scale 2, 4:4:4).
        present: Good frames that an interrupted run left; writing goes on behind them.
        on_frames: Told how many frames are there.
        depth: Bits of each channel: 8, or (PNG) 16, which holds all that a video of 10 or 12 bits has.

    Returns:
        The number of frames in the folder.

    Raises:
        VideoError: ffmpeg failed, or the video gave no frame; what was written stays, for going on.
    """
    if suffix not in SUFFIXES:
        raise VideoError(f"frames are written as png or jpg, not as {suffix}")
    if depth not in DEPTHS or (depth == 16 and suffix != ".png"):
        raise VideoError(f"{suffix} frames of {depth} bits are not written; take png for 16 bits")
    folder = require_writable_folder(folder, "the output folder")
    request = Request.of(info.path, fps, suffix, depth)
    _write_manifest(folder, request, finished=False, count=0)
    skipped = max(0, present - REWRITTEN)
    chosen = f"gte(n\\,{skipped})" if skipped else ""
    if on_frames is not None and skipped:
        on_frames(skipped)
    report = (lambda done: on_frames(skipped + done)) if on_frames is not None else None
    try:
        _write_images(info, folder, request, chosen, skipped + 1, report)
    finally:
        _remove_halves(folder)
    count = _last_number(folder, suffix)
    if count == 0:
        raise VideoError(f"{info.path}: no frame could be decoded; the file is damaged or was cut short")
    _write_manifest(folder, request, finished=True, count=count)
    storage.sync_directory(folder)
    return count


def restore_frames(
    info: VideoInfo,
    folder: Path,
    missing: tuple[int, ...],
    fps: Fraction = ALL_FRAMES,
    suffix: str = ".png",
    on_frames: OnFrames | None = None,
    depth: int = 8,
) -> int:
    """Write only the frames numbered `missing` (from 1, rising), touch no other; how many are there now."""
    if not missing:
        return 0
    ranges = merge_ranges(missing, MAX_RANGES)
    chosen = "+".join(f"between(n\\,{first - 1}\\,{last - 1})" for first, last in ranges)
    fetched = [number for first, last in ranges for number in range(first, last + 1)]
    wanted = set(missing)
    request = Request.of(info.path, fps, suffix, depth)
    with tempfile.TemporaryDirectory(prefix=".frames-", dir=folder) as aside:
        _write_images(info, Path(aside), request, chosen, 1, on_frames)
        for position, number in enumerate(fetched, start=1):
            source = Path(aside) / f"{position:05}{suffix}"
            if number in wanted and source.exists():
                shutil.move(source, folder / f"{number:05}{suffix}")
    return sum((folder / f"{number:05}{suffix}").exists() for number in missing)


def remove_frames(frames: tuple[Path, ...], folder: Path) -> None:
    """Delete numbered frames, which the user has agreed to; what is recorded of them goes first."""
    for name in (MANIFEST, "timestamps.json"):
        (folder / name).unlink(missing_ok=True)
    for path in frames:
        path.unlink(missing_ok=True)


def merge_ranges(numbers: tuple[int, ...], limit: int) -> list[tuple[int, int]]:
    """Rising numbers as inclusive ranges, at most `limit`: the narrowest gaps are bridged."""
    gaps = [(b - a, i) for i, (a, b) in enumerate(itertools.pairwise(numbers)) if b - a > 1]
    kept = sorted(i for _, i in sorted(gaps, reverse=True)[: limit - 1])
    starts = [0] + [i + 1 for i in kept]
    ends = [*kept, len(numbers) - 1]
    return [(numbers[s], numbers[e]) for s, e in zip(starts, ends)]


def rgb_filters(info: VideoInfo, fps: Fraction, chosen: str = "", depth: int = 8) -> list[str]:
    """The filters from a video to its frames in RGB, at `fps` (0 for each once), the `chosen` ones."""
    filters = [f"fps={fps}"] if fps else []
    filters += [f"select={chosen}"] if chosen else []
    return [*filters, info.colour.to_rgb(info.is_rgb, depth == 16)]


def _write_images(
    info: VideoInfo,
    folder: Path,
    request: Request,
    chosen: str,
    first: int,
    on_frames: OnFrames | None,
) -> None:
    import ffmpeg

    suffix = request.suffix
    filters = rgb_filters(info, Fraction(request.fps), chosen, request.depth)
    if suffix == ".jpg":
        filters.append(JPEG_TAGS.from_rgb("yuv444p"))
        options = {"q:v": 2, "color_range": "pc", "c:v": "mjpeg"}
    else:
        options = {"c:v": "png", "compression_level": 1}  # ffmpeg's default is 6 times slower for 20 % less
    spec = ffmpeg.output(
        ffmpeg.input(file_url(info.path))[str(info.stream_index)],
        f"%05d{suffix}",  # relative to cwd: a "%" in the folder's name would be taken for a pattern
        vf=",".join(filters),
        fps_mode="passthrough",
        f="image2",
        start_number=first,
        atomic_writing=1,
        **options,
    )
    run(spec, str(info.path), on_frames, cwd=folder)


def _remove_halves(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        if FRAME_NAME.fullmatch(path.stem):
            path.unlink(missing_ok=True)


def _last_number(folder: Path, suffix: str) -> int:
    return max(
        (
            int(p.stem)
            for p in list_images(folder)
            if FRAME_NAME.fullmatch(p.name) and p.suffix.lower() == suffix
        ),
        default=0,
    )


def _write_manifest(folder: Path, request: Request, finished: bool, count: int) -> None:
    record = {"version": VERSION, "request": asdict(request), "finished": finished, "count": count}
    storage.write_json(folder / MANIFEST, record)


def read_manifest(folder: Path) -> tuple[Request | None, bool, int]:
    """Request, finished, count; a manifest that is absent, damaged or of a later version counts as none."""
    try:
        record = storage.read_json(folder / MANIFEST)
        if record["version"] != VERSION:
            return None, False, 0
        return Request(**record["request"]), bool(record["finished"]), int(record["count"])
    except (OSError, SwapError, FileFormatError, KeyError, TypeError, ValueError):
        return None, False, 0


def _origin(made: Request | None, wanted: Request) -> str:
    if made is None:
        return "of unknown origin"
    if not made.same_video(wanted):
        return f"of another video ({made.video_name})"
    rate = "all frames" if made.fps == "0" else f"{made.fps} frames per second"
    return f"of the same video, made otherwise ({rate}, {made.suffix[1:]}, {made.depth} bits)"
