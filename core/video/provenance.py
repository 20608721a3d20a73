"""Saying in the file that its faces were made by a trained model (IPTC digital source type).

Films carry it in the metadata of their container (`DigitalSourceType`, and `comment`, which is all that AVI
knows); pictures in an XMP packet. It tells honest programs what they show; it is no protection against
removal.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from core.errors import FileFormatError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
COMMENT = f"AI-altered media: faces were replaced by a trained model. DigitalSourceType: {SOURCE_TYPE}"
SOURCE_TYPE_PATTERN = re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/\w+")

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KEYWORD = b"XML:com.adobe.xmp"
JPEG_START = b"\xff\xd8"
JPEG_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_APP0, JPEG_APP1 = 0xE0, 0xE1


def film_metadata() -> dict[str, str]:
    """Names and values for the metadata of a film."""
    return {"comment": COMMENT, "DigitalSourceType": SOURCE_TYPE}


def source_type(metadata: Mapping[str, str]) -> str | None:
    """The IPTC digital source type that the metadata of a film names, None if it names none."""
    for key in sorted(metadata, key=lambda k: k.lower() != "digitalsourcetype"):
        found = SOURCE_TYPE_PATTERN.search(metadata[key])
        if found:
            return found.group()
    return None


def read_source_type(path: Path) -> str | None:
    """The IPTC digital source type of a film file, None if it names none.

    Raises:
        VideoError: Not a film.
    """
    from core.video.probe import opened

    with opened(path) as container:
        return source_type(dict(container.metadata))


def mark_image(data: bytes, name: str = "image") -> bytes:
    """The bytes of a PNG or JPEG file with an XMP packet that names the digital source type added.

    Raises:
        FileFormatError: Neither PNG nor JPEG.
    """
    if data.startswith(PNG_SIGNATURE):
        header_end = len(PNG_SIGNATURE) + 25  # IHDR is always first, 13 bytes and 12 of framing
        return data[:header_end] + _png_text_chunk() + data[header_end:]
    if data.startswith(JPEG_START):
        position = len(JPEG_START)
        if data[position : position + 2] == bytes((0xFF, JPEG_APP0)):  # JFIF wants to stay first
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        payload = JPEG_XMP_HEADER + XMP
        segment = struct.pack(">BBH", 0xFF, JPEG_APP1, len(payload) + 2) + payload
        return data[:position] + segment + data[position:]
    raise FileFormatError(f"{name}: only PNG and JPEG files can be marked")


def _png_text_chunk() -> bytes:
    """An uncompressed iTXt chunk: keyword, flags, empty language and translation, text."""
    body = b"iTXt" + PNG_KEYWORD + b"\0\0\0\0\0" + XMP
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
