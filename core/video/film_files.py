"""Telling files of films from others without decoding them: by suffix, else by how they begin."""

from __future__ import annotations

import os
from pathlib import Path

FILM_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".f4v", ".mpg")
    + (
        ".mpeg",
        ".mpe",
        ".mpv",
        ".m2v",
        ".vob",
        ".mod",
        ".tod",
        ".ts",
        ".mts",
        ".m2ts",
        ".3gp",
        ".3g2",
        ".ogv",
    )
    + (
        ".ogm",
        ".rm",
        ".rmvb",
        ".mxf",
        ".y4m",
        ".dv",
        ".braw",
        ".r3d",
        ".insv",
        ".lrv",
        ".gif",
        ".mjpg",
        ".mjpeg",
    )
    + (".h264", ".264", ".h265", ".265", ".hevc", ".av1", ".ivf", ".nut")
)
# What these tools write; none of it is a film, so that it need not be opened
OTHER_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".png",
        ".tif",
        ".tiff",
        ".npy",
        ".npz",
        ".dat",
        ".pak",
        ".json",
        ".jsonl",
        ".txt",
        ".log",
    )
    + (".html", ".h5", ".dfm", ".onnx", ".safetensors", ".csv", ".md")
)
# (place, bytes): MP4 and MOV; Matroska and WebM; MPEG; FLV; ASF; Ogg; MXF; RealMedia; Y4M; IVF; AVI
_STARTS = (
    *((4, word) for word in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    *((0, word) for word in (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"0&\xb2u", b"OggS")),
    *((0, word) for word in (b"\6\x0e+4", b".RMF", b"YUV4MPEG2", b"DKIF")),
    (8, b"AVI "),
)
_PACKETS = ((0, 188), (4, 192))  # first sync byte and length of packets of transport streams
_SYNC = b"G"


def is_film(path: Path) -> bool:
    """Whether a file is a film, whatever it is called; one that cannot be read counts as one.

    Of links, which are not what they point to, and of pipes only the name counts.
    """
    suffix = os.path.splitext(path.name)[1].lower()
    if suffix in FILM_SUFFIXES or suffix in OTHER_SUFFIXES or path.is_symlink() or not path.is_file():
        return suffix in FILM_SUFFIXES
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return True
    if any(head.startswith(word, place) for place, word in _STARTS):
        return True
    return any(
        all(head[at : at + 1] == _SYNC for at in range(first, first + 4 * length, length))
        for first, length in _PACKETS
    )
