"""What a picture's file says beside its pixels: a profile taken out of a PNG, EXIF and XMP taken from file to file."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 25
"""Where a PNG's IHDR chunk ends."""
_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")
COLOUR_CHUNKS = (b"cICP", b"gAMA", b"cHRM")
"""PNG chunks that change the looks and that JPEG and WebP have no place for."""


@dataclass(frozen=True)
class Metadata:
    """EXIF as a TIFF stream and XMP as XML, of a picture that stands upright; empty when there is none."""

    exif: bytes = b""
    xmp: bytes = b""

    def onto(self, png: bytes) -> bytes:
        """The PNG file with this metadata in it; its pixels stay the same bytes."""
        chunks = _chunk(b"eXIf", self.exif) if self.exif else b""
        if self.xmp:
            chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + self.xmp)
        return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def metadata_of(data: bytes) -> Metadata:
    """EXIF and XMP of a picture's file, both made to say that it stands upright. A preview in EXIF is left out.

    Raises OSError, SyntaxError or ValueError where Pillow cannot read the file.
    """
    picture = Image.open(io.BytesIO(without_profile(data)[0]))
    if picture.format == "PNG":
        picture.load()  # these may stand behind the pixels
    xmp = picture.info.get("xmp", b"")
    for name in ("xmp", "XML:com.adobe.xmp"):
        picture.info.pop(name, None)  # Pillow would take an orientation out of it
    exif = picture.getexif()
    if _ORIENTATION in exif:
        exif[_ORIENTATION] = 1
    stream = exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else b""
    return Metadata(stream, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))


def without_profile(data: bytes) -> tuple[bytes, bytes | None]:
    """A PNG file without its colour profile, and that; other files as they are."""
    for name, start, end in _chunks(data):
        if name == b"iCCP":
            packed = data[start + 8 : end - 4].partition(b"\0")[2][1:]
            try:
                return data[:start] + data[end:], zlib.decompressobj().decompress(packed, 1 << 26)
            except zlib.error:
                return data[:start] + data[end:], None
    return data, None


def colour_chunks(data: bytes) -> bool:
    """Whether a PNG file has one of COLOUR_CHUNKS."""
    return any(name in COLOUR_CHUNKS for name, _, _ in _chunks(data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the chunks before a PNG's pixels; nothing for other files."""
    at = len(_SIGNATURE) if data.startswith(_SIGNATURE) else len(data)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            return
        yield name, at, at + 12 + length
        at += 12 + length


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
