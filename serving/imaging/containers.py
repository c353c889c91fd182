"""The bytes of a picture file without what its pixels do not need, so that no metadata can keep Pillow from reading.

Pillow refuses a file for a long text, a long profile or a wrong checksum beside the pixels, and lenient reading is one
switch for all threads of a process. So the file is mended before Pillow sees it.
"""

import struct
import zlib
from collections.abc import Iterator

from serving.errors import EditError
from serving.imaging.metadata import NOTHING_KEPT, PNG_SIGNATURE, Metadata, colour_chunk, inflated_profile, png_chunk

_TRNS_LENGTHS = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
"""Of a PNG's tRNS chunk, by colour type: the chunk has no meaning in others."""
_MOST_CHUNKS = 1 << 18
"""In a file, segments and padding too. A picture of 128 MiB has half as many where its writer puts 1 kB into each."""
_WEBP_PASSED = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"EXIF")
_WEBP_FLAGS = 0x04 | 0x20
"""In VP8X: there is XMP, there is a profile."""
_SRGB_PRIMARIES = (b"\0\1", b"\0\2")
_SRGB_TRANSFERS = (b"\0\1", b"\0\2", b"\0\6", b"\0\x0d")
"""By ITU-T H.273, as browsers show them: BT.709, unspecified, BT.601 and sRGB itself."""
_JPEG_ASIDE = [bytes([marker]) for marker in (*range(0xE0, 0xF0), 0xFE)]
"""Application segments and comments."""
_JPEG_PASSED = ((b"\xe0", b"JFIF\0"), (b"\xe1", b"Exif\0\0"), (b"\xee", b"Adobe"))
"""Application segments that Pillow gets to see, by how they begin: density, orientation, colour transform."""
_JPEG_PROFILE = b"ICC_PROFILE\0"


def bare(kind: str, data: bytes) -> tuple[bytes, Metadata]:
    """A file of `kind` (Pillow's name) as Pillow can read it, and the profile and colour chunks taken out of it.

    A file whose structure is broken comes back as it is. Raises EditError invalid_image for a PNG whose checksum is
    wrong in a chunk that the pixels need.
    """
    work = {"PNG": _bare_png, "JPEG": _bare_jpeg, "WEBP": _bare_webp, "AVIF": _bare_heif, "HEIF": _bare_heif}.get(kind)
    return work(data) if work else (data, NOTHING_KEPT)


def _bare_png(data: bytes) -> tuple[bytes, Metadata]:
    out, profile = [PNG_SIGNATURE], None
    colours: dict[bytes, bytes] = {}
    for name, body in _png_chunks(data):
        if name == b"iCCP":
            profile = profile or inflated_profile(bytes(body))
        elif chunk := colour_chunk(name, bytes(body[:64])):
            colours.setdefault(*chunk)
        elif name == b"acTL" and len(body) == 8 and int.from_bytes(body[:4], "big") > 1:
            raise EditError("invalid_image", "the picture is animated; send one frame as PNG or JPEG.")
        elif not name[0] & 0x20 or _needed(name, len(body), data[25]):
            out.append(png_chunk(name, body))
    if out[-1][4:8] != b"IEND":
        out.append(png_chunk(b"IEND", b""))  # the pixels may be there all the same: decoding tells
    return b"".join(out), Metadata(profile, colour_chunks=tuple(colours.items()))


def _needed(name: bytes, length: int, colour_type: int) -> bool:
    """Whether Pillow gets to see an ancillary chunk: transparency, density, orientation, all of a fitting length."""
    if name == b"tRNS":
        return length in _TRNS_LENGTHS.get(colour_type, ())
    return name == b"eXIf" or (name == b"pHYs" and length == 9)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and body of the chunks with a right checksum; pixels may be cut off at the file's end."""
    view, at = memoryview(data), len(PNG_SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        body, end = view[at + 8 : at + 8 + length], at + 12 + length
        if end > len(data):
            if name == b"IDAT":
                yield name, body
            return
        whole = zlib.crc32(body, zlib.crc32(name)) == int.from_bytes(data[end - 4 : end], "big")
        if whole:
            yield name, body
        elif not name[0] & 0x20:
            raise EditError("invalid_image", "the picture is damaged or cut off; send the whole file.")
        if name == b"IEND":
            return
        at = end
    raise EditError("invalid_image", "the picture has too many chunks; save it again as PNG or JPEG.")


def _bare_jpeg(data: bytes) -> tuple[bytes, Metadata]:
    out, at = [b"\xff\xd8"], 2
    parts: dict[bytes, bytes] = {}
    for _ in range(_MOST_CHUNKS):
        if data[at : at + 1] != b"\xff":
            return data, NOTHING_KEPT
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == b"\xff":  # padding
            at += 1
            continue
        if marker == b"\xda":  # the pixels begin
            profile = b"".join(parts[number] for number in sorted(parts))
            return b"".join([*out, memoryview(data)[at:]]), Metadata(profile or None)
        body = data[at + 4 : at + 2 + length]
        if marker == b"\xe2" and body.startswith(_JPEG_PROFILE):
            parts[body[12:13]] = body[14:]
        elif marker not in _JPEG_ASIDE or any(marker == m and body.startswith(start) for m, start in _JPEG_PASSED):
            out.append(data[at : at + 2 + length])
        if length < 2:
            return data, NOTHING_KEPT
        at += 2 + length
    raise EditError("invalid_image", "the picture has too many segments; save it again as PNG or JPEG.")


def _bare_webp(data: bytes) -> tuple[bytes, Metadata]:
    out, profile, at = [], None, 12
    end = min(len(data), int.from_bytes(data[4:8], "little") + 8)
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:
            break
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            return data, NOTHING_KEPT
        if name == b"ICCP":
            profile = profile or body
        elif name in _WEBP_PASSED:
            if name == b"VP8X" and body:
                body = bytes([body[0] & ~_WEBP_FLAGS]) + body[1:]
            out += [name, struct.pack("<I", length), body, b"\0" * (length % 2)]
        at += 8 + length + length % 2
    content = b"".join([b"WEBP", *out])
    return b"".join([b"RIFF", struct.pack("<I", len(content)), content]), Metadata(profile)


def _bare_heif(data: bytes) -> tuple[bytes, Metadata]:
    """AVIF and HEIC turn by boxes of their own (irot, imir), as browsers do: their EXIF is hidden under a free name."""
    at = 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"meta":
            meta = data[at : at + length]
            hidden = b"".join([data[:at], meta.replace(b"Exif", b"skip"), memoryview(data)[at + length :]])
            return hidden, Metadata(colour_chunks=_coded_colours(meta))
        if length < 8:
            break
        at += length
    return data, NOTHING_KEPT


def _coded_colours(meta: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """PNG's cICP chunk for the colours of an AVIF or HEIC that has no ICC profile, unless they are sRGB's."""
    _, named, numbers = meta.partition(b"colrnclx")
    primaries, transfer = numbers[0:2], numbers[2:4]
    usual = primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS
    if not named or usual or b"colrprof" in meta or b"colrrICC" in meta or len(transfer) < 2:
        return ()
    return ((b"cICP", bytes([primaries[1], transfer[1], 0, 1])),)
