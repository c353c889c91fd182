"""What of a picture's metadata changes its looks or its size on paper: all that is kept. The rest is dropped.

Metadata never costs an edit: what is too large, damaged or senseless is left out, and the pixels are read.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 16 << 20
"""Bytes of a colour profile. Those of printers have 1 to 4 MB, and the form in JPEG ends at 16 MB."""
COLOUR_CHUNKS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"mDCV": 24, b"cLLI": 8}
"""PNG chunks by which browsers show the colours, with their lengths."""
INCH = 0.0254
"""In metres: PNG counts pixels a metre."""
_HEADER_END = len(PNG_SIGNATURE) + 25
"""Where IHDR, always the first chunk and of 13 bytes, ends."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Metadata:
    """What the answer takes over: an ICC profile, dpi as (x, y), and PNG's colour chunks as (name, body)."""

    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour_chunks: tuple[tuple[bytes, bytes], ...] = ()

    def options(self) -> dict[str, Any]:
        """The keywords for Pillow's `save` as PNG."""
        options = {"icc_profile": self.icc_profile, "dpi": self.dpi}
        return {name: value for name, value in options.items() if value}

    def onto(self, png: bytes) -> bytes:
        """The PNG file with the colour chunks in it."""
        chunks = b"".join(png_chunk(name, body) for name, body in self.colour_chunks)
        return png[:_HEADER_END] + chunks + png[_HEADER_END:] if chunks else png


NOTHING_KEPT = Metadata()


def png_chunk(name: bytes, body: bytes | memoryview) -> bytes:
    """A chunk of a PNG file, with its length and its checksum."""
    return b"".join([struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))])


def colour_chunk(name: bytes, body: bytes) -> tuple[bytes, bytes] | None:
    """The chunk, unless it is none of COLOUR_CHUNKS or makes no sense."""
    sensible = COLOUR_CHUNKS.get(name) == len(body) and not (name == b"gAMA" and body == bytes(4))
    return (name, body) if sensible else None


def inflated_profile(body: bytes) -> bytes | None:
    """The ICC profile in the body of a PNG's iCCP chunk; None when it is damaged or longer than MAX_PROFILE."""
    _, _, packed = body.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def sensible_dpi(dpi: Any) -> tuple[float, float] | None:
    """`dpi` as Pillow found it, unless it is no pair of numbers that a PNG file can hold."""
    try:
        x, y = (float(value) for value in dpi)
    except Exception:  # None, or one of the forms that damaged tags take
        return None
    most = (2**31 - 1) * INCH
    fits = all(math.isfinite(value) and 1 < value < most for value in (x, y))  # 1: of a TIFF that says nothing
    return (x, y) if fits else None


def upright(image: Image.Image, exif: bytes | None) -> Image.Image:
    """The image turned by the orientation in its EXIF block, as browsers do; XMP's turns nothing."""
    method = _TURNS.get(_orientation(exif)) if exif else None
    if method is None:
        return image
    turned = image.transpose(method)
    if method not in (_TURNS[2], _TURNS[3], _TURNS[4]) and image.info.get("dpi"):
        turned.info["dpi"] = tuple(image.info["dpi"])[::-1]
    return turned


def _orientation(exif: bytes) -> int:
    block = Image.Exif()
    try:
        block.load(exif)
        return int(block.get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
