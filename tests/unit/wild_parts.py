"""What odd files are made of: one picture, and the parts of each format."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image, TiffImagePlugin

RNG = np.random.default_rng(0)
LONG = RNG.bytes(3 << 20)
"""Does not compress: longer than what Pillow reads of a text or a profile."""
XMP_TURNED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/><tiff:Orientation>6</tiff:Orientation>'
COLOURS = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000),
    b"cICP": bytes([12, 13, 0, 1]),
    b"sRGB": b"\0",
}


def scene(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[0:48, 0:64]
    image = Image.fromarray(np.stack([x * 4, y * 5, 128 + 0 * x], -1).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((x * 4).astype(np.uint8)))
    if mode == "I;16":
        return Image.fromarray((x * 1000 + y).astype(np.uint16))
    return image if mode == image.mode else image.convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def saved(kind: str, mode: str = "RGB", **options) -> bytes:
    return encoded(scene(mode), kind, **options)


def pixels(data: bytes) -> Image.Image:
    """What Pillow alone reads of a file without oddities."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Maker"
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 0.0)})
    return block.tobytes()


def chunk(name: bytes, body: bytes, crc: int = 0) -> bytes:
    """A PNG chunk; its checksum is right unless `crc` is added to it."""
    checksum = (zlib.crc32(name + body) + crc) % 2**32
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png(*extra: bytes, mode: str = "RGB") -> bytes:
    """The scene with chunks after its header."""
    data = saved("PNG", mode)
    return data[:33] + b"".join(extra) + data[33:]


def late(*extra: bytes) -> bytes:
    """The scene with chunks before its IEND."""
    data = saved("PNG")
    return data[:-12] + b"".join(extra) + data[-12:]


def iccp(profile: bytes) -> bytes:
    return b"a\0\0" + zlib.compress(profile, 1)


def jpeg(*segments: tuple[int, bytes], **options) -> bytes:
    """The scene with segments after its start marker."""
    data = saved("JPEG", **options)
    extra = (b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return data[:2] + b"".join(extra) + data[2:]


def jpeg_profile(profile: bytes) -> list[tuple[int, bytes]]:
    parts = [profile[at : at + 65_000] for at in range(0, len(profile), 65_000)]
    return [(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, len(parts)]) + part) for i, part in enumerate(parts)]


def webp(*extra: tuple[bytes, bytes]) -> bytes:
    """The scene, lossless, in the extended form with chunks behind its pixels."""
    simple = saved("WEBP", lossless=True)[12:]
    header = b"VP8X" + struct.pack("<IB3x", 10, 0x04) + struct.pack("<I", 63)[:3] + struct.pack("<I", 47)[:3]
    behind = b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in extra)
    return riff(header + simple + behind)


def riff(chunks: bytes, more: int = 0) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4 + more) + b"WEBP" + chunks


def odd_webp() -> bytes:
    """A WebP file whose only chunk has an odd length, so that a byte of padding ends it, which is no longer there.

    libwebp fills its chunks up to an even length: with the last byte, a zero, outside, the length is odd.
    """
    for quality in range(40, 100):
        data = saved("WEBP", quality=quality)
        body = data[20:-1]
        odd = riff(data[12:16] + struct.pack("<I", len(body)) + body + b"\0")
        if data[-1] == 0 and len(body) % 2 and pixels(odd) == pixels(data):
            return odd
    raise AssertionError("no quality gives an odd length")


def tiff(**tags) -> bytes:
    """The scene as TIFF with tags by number, `t254=1`."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[int(name[1:])] = value
    return saved("TIFF", tiffinfo=directory)


def brand(major: bytes, *others: bytes) -> bytes:
    body = major + bytes(4) + b"".join(others)
    return struct.pack(">I", len(body) + 8) + b"ftyp" + body + bytes(64)


def turned() -> Image.Image:
    return scene().transpose(Image.Transpose.ROTATE_270)
