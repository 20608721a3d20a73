"""How films are encoded: the codecs, what fits into which container, and what frames of 16 bits become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.errors import VideoError

AUTO = "auto"
MP4_LIKE = (".mp4", ".m4v", ".mov")


@dataclass(frozen=True)
class Codec:
    """One way to encode pictures.

    `suffixes` are the containers that take it, `lossy` and `lossless` the encoder's options (None: it
    cannot). Lossy formats are YUV, `format` for frames of 8 bits and `deep_format` for 16; lossless ones are
    RGB. `rated` says that the bit rate can be chosen. `hardware` is the encoder's name to which a family's is
    added (`h264_nvenc`).
    """

    name: str
    shown: str
    suffixes: tuple[str, ...]
    lossy: dict[str, str] | None = None
    format: str = "yuv420p"
    deep_format: str = "yuv420p10"
    lossless: dict[str, str] | None = None
    lossless_format: str = ""
    deep_lossless: dict[str, str] | None = None
    deep_lossless_format: str = ""
    rated: bool = True
    hardware: str = ""
    tags: dict[str, str] = field(default_factory=dict)  # suffix to codec tag that players want there


X265 = {"c:v": "libx265", "preset": "medium"}
VP9 = {"c:v": "libvpx-vp9", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
PRORES = {"c:v": "prores_ks", "vendor": "apl0"}
FFV1 = {"c:v": "ffv1", "level": "3", "g": "1", "slicecrc": "1"}
PNG = {"c:v": "png", "compression_level": "1"}
CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            "x264",
            "H.264",
            (*MP4_LIKE, ".mkv", ".avi"),
            {"c:v": "libx264"},
            lossless={"c:v": "libx264rgb", "crf": "0", "preset": "veryfast"},
            lossless_format="bgr24",
            hardware="h264",
        ),
        Codec(
            "x265",
            "H.265",
            (*MP4_LIKE, ".mkv"),
            X265,
            lossless={"c:v": "libx265", "preset": "veryfast"},
            lossless_format="gbrp",
            hardware="hevc",
            tags=dict.fromkeys(MP4_LIKE, "hvc1"),
        ),
        Codec(
            "prores",
            "ProRes 422 HQ",
            (".mov", ".mkv"),
            {**PRORES, "profile:v": "3"},
            "yuv422p10",
            "yuv422p10",
            rated=False,
        ),
        Codec(
            "prores4444",
            "ProRes 4444",
            (".mov", ".mkv"),
            {**PRORES, "profile:v": "4"},
            "yuv444p10",
            "yuv444p10",
            rated=False,
        ),
        Codec(
            "vp9",
            "VP9",
            (".webm", ".mkv", ".mp4"),
            VP9,
            lossless={**VP9, "lossless": "1"},
            lossless_format="gbrp",
        ),
        Codec(
            "ffv1",
            "FFV1",
            (".mkv", ".avi"),
            lossless=FFV1,
            lossless_format="bgr0",
            deep_lossless=FFV1,
            deep_lossless_format="gbrp16le",
            rated=False,
        ),
        Codec(
            "png",
            "PNG pictures",
            (".mov", ".mkv", ".avi", ".mp4", ".m4v"),
            lossless=PNG,
            lossless_format="rgb24",
            deep_lossless=PNG,
            deep_lossless_format="rgb48be",
            rated=False,
        ),
    )
}
CODEC_NAMES = (AUTO, *CODECS)
# The choice of `auto`. PNG in .mov: editing programs that take a lossless .mov know no H.264 in RGB. H.265
# for 10 bits: hardly a player decodes H.264 of so many in hardware; AVI knows no H.265.
USUAL = {".mp4": "x264", ".m4v": "x264", ".mov": "x264", ".mkv": "x264", ".avi": "x264", ".webm": "vp9"}
USUAL_DEEP = {**dict.fromkeys((*MP4_LIKE, ".mkv"), "x265"), ".avi": "x264", ".webm": "vp9"}
USUAL_LOSSLESS = {**USUAL, ".mov": "png"}
USUAL_DEEP_LOSSLESS = {**dict.fromkeys(MP4_LIKE, "png"), ".mkv": "ffv1", ".avi": "ffv1", ".webm": "vp9"}


@dataclass(frozen=True)
class Encoding:
    """What one film is encoded with: the encoder's `options` and the pixel format that it is given.

    `deep` says that frames are piped with 16 bits, `bits` how many the film has.
    """

    codec: Codec
    lossless: bool
    deep: bool
    options: dict[str, str]
    pixel_format: str

    @property
    def bits(self) -> int:
        if self.pixel_format.endswith("10"):
            return 10
        return 16 if self.deep and self.lossless else 8


def choose_encoding(name: str, suffix: str, lossless: bool, deep: bool) -> Encoding:
    """The encoding of a film.

    Args:
        name: One of `CODEC_NAMES`.
        suffix: Of the film's file, one that `container_for` knows.
        lossless: Every pixel of the frames can be got back.
        deep: The frames have 16 bits for each channel.

    Raises:
        VideoError: The codec does not go into this container, or is not (or only) lossless; the message says
            which does.
    """
    if name == AUTO:
        tables = (USUAL, USUAL_DEEP, USUAL_LOSSLESS, USUAL_DEEP_LOSSLESS)
        name = tables[2 * lossless + deep][suffix]
    codec = CODECS[name]
    if suffix not in codec.suffixes:
        fitting = ", ".join(key for key, other in CODECS.items() if suffix in other.suffixes)
        raise VideoError(
            f"{name} does not go into {suffix} files, only into {', '.join(codec.suffixes)}; "
            f"for {suffix} choose one of {fitting}"
        )
    lossless = lossless or codec.lossy is None
    if lossless:
        options = codec.deep_lossless if deep else codec.lossless
        if options is None:
            kind = "frames of 16 bits" if deep else "frames"
            raise VideoError(
                f"{name} cannot hold {kind} without loss in {suffix} files; "
                "choose ffv1 in .mkv, or png in .mov or .mp4"
            )
        pixel_format = codec.deep_lossless_format if deep else codec.lossless_format
    else:
        options, pixel_format = dict(codec.lossy or {}), codec.deep_format if deep else codec.format
    options = dict(options)
    if suffix == ".avi":
        options["bf"] = "0"  # it knows no order of display, hence no B frames
    if suffix in codec.tags:
        options["tag:v"] = codec.tags[suffix]
    # A codec that has no 8 bits gets frames in 16 and needs no rounding between.
    return Encoding(codec, lossless, deep or pixel_format.endswith("10"), options, pixel_format)


def rate_options(encoding: Encoding, bitrate: int) -> dict[str, Any]:
    """The bit rate in Mbit/s, for codecs that have one."""
    return {} if encoding.lossless or not encoding.codec.rated else {"b:v": f"{bitrate}M"}


def parameters(encoding: Encoding, mastering: list[str]) -> dict[str, str]:
    """x265's and x264's own options: silence, losslessness, the screen that the colours are made for."""
    encoder = encoding.options.get("c:v")
    if encoder == "libx265":
        words = ["log-level=error", *(["lossless=1"] if encoding.lossless else []), *mastering]
        if mastering:
            words += ["hdr10=1", "repeat-headers=1"]
        return {"x265-params": ":".join(words)}
    if encoder == "libx264" and mastering:
        words = [word.replace("master-display=", "mastering-display=").replace("max-cll=", "cll=")
                 for word in mastering]  # fmt: skip
        return {"x264-params": ":".join(words)}
    return {}
