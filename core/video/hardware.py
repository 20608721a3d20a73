"""Encoders of graphics cards: known to ffmpeg does not mean working, so each is tried on a few frames."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import VideoError
from core.video.binary import ffmpeg_path
from core.video.codecs import Encoding

TRIAL_SECONDS = 20.0
NONE, AUTO = "none", "auto"
RENDER_NODES = "/dev/dri"


@dataclass(frozen=True)
class Family:
    """One maker's encoders, fed with `format` or `deep_format`; `options` besides the rate."""

    name: str
    systems: tuple[str, ...]
    format: str
    deep_format: str
    options: dict[str, str]
    upload: str = ""  # a filter behind the conversion
    device: str = ""  # ffmpeg's option that opens the device


FAMILIES = {
    family.name: family
    for family in (
        Family("nvenc", ("linux", "win32"), "yuv420p", "p010le", {"preset": "p5", "rc": "vbr"}),
        Family("qsv", ("linux", "win32"), "nv12", "p010le", {"preset": "medium"}),
        Family("amf", ("linux", "win32"), "nv12", "p010le", {"quality": "quality"}),
        Family("vaapi", ("linux",), "nv12", "p010le", {}, ",hwupload", "vaapi_device"),
        Family("videotoolbox", ("darwin",), "nv12", "p010le", {"allow_sw": "0"}),
    )
}
NAMES = (NONE, AUTO, *FAMILIES)


@dataclass(frozen=True)
class HardwareEncoding:
    """An encoding on a graphics card: filters appended to the conversion, and options of the input."""

    encoding: Encoding
    filters: str
    input_options: dict[str, str]


def choose_hardware(encoding: Encoding, family: str) -> tuple[HardwareEncoding | None, str]:
    """The encoding on a card and what is to be told of the choice; None where the processor is to do it.

    Args:
        encoding: What is wanted of the processor.
        family: One of `NAMES`; `auto` takes the first that works, and none if none does.

    Raises:
        VideoError: The family that was asked for does not work here, or has no such codec.
    """
    if family == NONE:
        return None, ""
    if encoding.lossless or not encoding.codec.hardware:
        what = "lossless films" if encoding.lossless else encoding.codec.shown
        if family != AUTO:
            raise VideoError(f"{family} cannot make {what}; choose x264 or x265, or no hardware encoder")
        return None, f"no graphics card makes {what}: the processor does"
    faults = []
    for name in FAMILIES if family == AUTO else (family,):
        candidate = _encoding_on(encoding, FAMILIES[name])
        fault = _fault(candidate, FAMILIES[name])
        if not fault:
            return candidate, f"encoded by hardware ({candidate.encoding.options['c:v']})"
        faults.append(f"{name}: {fault}")
    if family != AUTO:
        raise VideoError(f"the hardware encoder {faults[0]}; leave --hardware out, or take auto")
    return None, "no hardware encoder works here, the processor encodes"


def _encoding_on(encoding: Encoding, family: Family) -> HardwareEncoding:
    deep = encoding.pixel_format.endswith("10")
    kept = {key: value for key, value in encoding.options.items() if key in ("bf", "tag:v")}
    options = {"c:v": f"{encoding.codec.hardware}_{family.name}", **family.options, **kept}
    if deep and encoding.codec.hardware == "hevc":
        options["profile:v"] = "main10"
    filters = f",format={family.deep_format if deep else family.format}{family.upload}"
    device = _render_node() if family.device else ""
    inputs = {family.device: device} if device else {}
    return HardwareEncoding(replace(encoding, options=options), filters, inputs)


def _render_node() -> str:
    folder = Path(RENDER_NODES)
    nodes = sorted(folder.glob("renderD*")) if folder.is_dir() else []
    return str(nodes[0]) if nodes else f"{RENDER_NODES}/renderD128"


def _fault(candidate: HardwareEncoding, family: Family) -> str:
    """Why it does not work here, in few words; "" if it does."""
    if sys.platform not in family.systems:
        return f"is not made for {sys.platform}"
    options = [part for pair in candidate.encoding.options.items() for part in (f"-{pair[0]}", pair[1])]
    inputs = [part for pair in candidate.input_options.items() for part in (f"-{pair[0]}", pair[1])]
    return _trial(ffmpeg_path(), tuple(inputs), candidate.filters.lstrip(","), tuple(options))


@functools.lru_cache(maxsize=32)
def _trial(ffmpeg: str, inputs: tuple[str, ...], filters: str, options: tuple[str, ...]) -> str:
    command = [ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", *inputs, "-f", "lavfi"]
    command += ["-i", "testsrc2=size=320x240:rate=25:duration=0.2", "-vf", filters, *options]
    try:
        done = subprocess.run(
            [*command, "-b:v", "2M", "-f", "null", "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"does not work here (no answer in {TRIAL_SECONDS:.0f} s)"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"does not work here ({lines[0] if lines else f'exit code {done.returncode}'})"
