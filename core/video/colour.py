"""What the numbers of a video's pixels mean, and the filters that turn them into RGB and back unshifted.

Codes and names are those of ITU-T H.273, which every container and ffmpeg use. The matrix (how Y, Cb, Cr are
made of R, G, B) matters for the conversion and must be the same both ways; primaries and transfer are only
passed on.
"""

from __future__ import annotations

from dataclasses import dataclass

UNSPECIFIED = "unknown"
MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
RANGES = {1: "tv", 2: "pc"}
HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
# Names that swscale gives the matrices it can compute with.
SCALE_MATRICES = {
    "bt709": "bt709",
    "fcc": "fcc",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}
# Untagged video is BT.601 here, both ways: whatever a player takes it for, the result looks as its reference.
UNTAGGED_MATRIX = "bt601"
# Without accurate_rnd the conversion darkens by up to 2 levels; the others keep chroma at full resolution.
SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
# 16..235 to 0..255, from 16 bits to whole values of 8 bits. swscale's own way from RGB to full range rounds
# chroma down since ffmpeg 7 or so (half a level greener each time), and its way from 16 to 8 bits of pc
# takes half a level of luma. 56064 and 57344 are the spans of luma and chroma, 219 * 256 and 224 * 256.
TV_TO_PC = (
    "lutyuv=y=floor((val-4096)*255/56064+0.5)*256"
    ":u=floor((val-32768)*255/57344+128.5)*256:v=floor((val-32768)*255/57344+128.5)*256"
)
# swscale takes 255 * 256 for the white of 16-bit RGB (1023 * 64 where the video's own range is full); in
# files it is 65535. To it and from it:
RGB16_TO_FILE = {"tv": "round(val*257/256)", "pc": "round(val*1024/1023)"}
RGB16_FROM_FILE = "round(val*256/257)"
# 16..235 to full range in 16 bits, with that white, as TV_TO_PC is for 8
DEEP_TV_TO_PC = (
    "lutyuv=y=floor((val-4096)*65472/56064+0.5)"
    ":u=floor((val-32768)*65472/57344+32768.5):v=floor((val-32768)*65472/57344+32768.5)"
)


@dataclass(frozen=True)
class ColourTags:
    """Names as in the tables above; `UNSPECIFIED` where the video does not say."""

    matrix: str = UNSPECIFIED
    primaries: str = UNSPECIFIED
    transfer: str = UNSPECIFIED
    range: str = UNSPECIFIED

    @classmethod
    def from_codes(cls, matrix: int, primaries: int, transfer: int, range: int) -> ColourTags:
        """From the numbers of H.273; unknown ones become `UNSPECIFIED`."""
        return cls(
            MATRICES.get(matrix, UNSPECIFIED),
            PRIMARIES.get(primaries, UNSPECIFIED),
            TRANSFERS.get(transfer, UNSPECIFIED),
            RANGES.get(range, UNSPECIFIED),
        )

    @property
    def scale_matrix(self) -> str:
        """The matrix to compute with, in swscale's words."""
        return SCALE_MATRICES.get(self.matrix, UNTAGGED_MATRIX)

    @property
    def scale_range(self) -> str:
        """`tv` (16..235) or `pc` (0..255); video that does not say is `tv`."""
        return "pc" if self.range == "pc" else "tv"

    @property
    def is_hdr(self) -> bool:
        """Whether 8-bit frames will look flat without tone mapping."""
        return self.transfer in HDR_TRANSFERS

    def for_yuv(self) -> ColourTags:
        """The tags for a YUV result: those of RGB or of matrices that swscale lacks become BT.709."""
        if self.matrix == UNSPECIFIED or self.matrix in SCALE_MATRICES:
            return self
        return ColourTags("bt709", self.primaries, self.transfer, "tv")

    def encoder_options(self, rgb: bool = False) -> dict[str, str]:
        """Options that make ffmpeg write these tags; unspecified ones are left out."""
        options = {
            "colorspace": UNSPECIFIED if rgb else self.matrix,  # RGB encoders write their own matrix
            "color_primaries": self.primaries,
            "color_trc": self.transfer,
            "color_range": "pc" if rgb else self.range,
        }
        return {key: value for key, value in options.items() if value != UNSPECIFIED}

    def to_rgb(self, is_rgb: bool, deep: bool = False) -> str:
        """Filter from the decoded picture to RGB of 8 (`deep`: 16) bits; `is_rgb`: has no matrix to undo."""
        matrix = "" if is_rgb else f"in_color_matrix={self.scale_matrix}:"
        scale = f"scale={matrix}out_range=pc:flags={SCALE_FLAGS}"
        if not deep:
            return f"{scale},format=rgb24"
        if is_rgb:  # its bits are copied upwards, white stays white
            return f"{scale},format=rgb48"
        return f"{scale},format=rgb48,{_same_for_all(RGB16_TO_FILE[self.scale_range])}"

    def from_deep_rgb(self, pixel_format: str) -> str:
        """Filter from 16-bit RGB to YUV of `pixel_format`, a name with its bits such as `yuv420p10`."""
        scale = f"scale=out_color_matrix={self.scale_matrix}:in_range=pc:out_range=tv:flags={SCALE_FLAGS}"
        steps = [_same_for_all(RGB16_FROM_FILE), scale]
        if self.scale_range == "pc":
            steps += [f"format={pixel_format[:7]}16", DEEP_TV_TO_PC]
            steps += [f"scale=in_range=tv:out_range=tv:flags={SCALE_FLAGS}"]  # a mere shift, so labelled
        tags = f"setparams=colorspace={self.matrix}:range={self.scale_range},{self.tag_filter()}"
        return ",".join([*steps, f"format={pixel_format}", tags])

    def from_rgb(self, pixel_format: str) -> str:
        """Filter from 8-bit RGB to YUV of `pixel_format`, with the matrix, range and labels of these tags."""
        to_yuv = f"scale=out_color_matrix={self.scale_matrix}:in_range=pc:out_range=tv:flags={SCALE_FLAGS}"
        if self.scale_range == "pc":
            fewer_bits = f"scale=in_range=tv:out_range=tv:flags={SCALE_FLAGS}"  # a mere shift, so labelled
            to_yuv += f",format={pixel_format}16le,{TV_TO_PC},{fewer_bits}"
        tags = f"setparams=colorspace={self.matrix}:range={self.scale_range},{self.tag_filter()}"
        return f"{to_yuv},format={pixel_format},{tags}"

    def tag_filter(self) -> str:
        """Filter that labels frames with primaries and transfer; new ffmpeg believes frames, not options."""
        return f"setparams=color_primaries={self.primaries}:color_trc={self.transfer}"


def _same_for_all(expression: str) -> str:
    """A filter that does one thing to the values of all three channels."""
    return f"lutrgb=r={expression}:g={expression}:b={expression}"


SDR_TAGS = ColourTags("bt709", "bt709", "bt709", "tv")  # what players expect of a video that has no reference
JPEG_TAGS = ColourTags("smpte170m", range="pc")  # the one meaning that colours have in a JPEG file
