"""The size that an AVIF file's pictures really have: it stands in their data, and the header may tell another one.

libavif decodes first and scales to the header's size then: 3 kB can cost half a gigabyte. The formats: ISO/IEC 14496-12
(boxes), 23008-12 (items), and the AV1 bitstream's sections 5.3 and 5.5 (OBUs, sequence header).
"""

from collections.abc import Iterator

_SEQUENCE_HEADER = 1
_MOST = 4096
"""Boxes, items, parts of an item, OBUs: a picture has some ten, or a few hundred tiles."""


class _Fields:
    """Unsigned numbers of so many bits from the front of `data`; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, bits: int) -> int:
        first, last = self._at // 8, (self._at + bits + 7) // 8
        number = int.from_bytes(self._data[first:last].ljust(last - first, b"\0"), "big")
        self._at += bits
        return number >> (last * 8 - self._at) & ((1 << bits) - 1)


def coded_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height, at most, of each picture in the file, tiles and opacity too, as their data say.

    Raises ValueError for a structure that no camera and no program writes: it would take long to look through.
    """
    meta = next((body for name, body in _boxes(data) if name == b"meta"), b"")[4:]
    boxes = dict(_boxes(meta))
    for item in _items(boxes.get(b"iloc", b""), data, boxes.get(b"idat", b"")):
        for kind, body in _obus(item):
            if kind == _SEQUENCE_HEADER:
                yield _largest_frame(body)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for _ in range(_MOST):
        if at + 8 > len(data):
            return
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        length = length or len(data) - at
        yield data[at + 4 : at + 8], data[at + head : at + length]
        at += max(length, 8)
    raise ValueError("too many boxes")


def _items(iloc: bytes, data: bytes, idat: bytes) -> Iterator[bytes]:
    """The bytes of each item by the box that locates them; most of them begin with an OBU."""
    fields = _Fields(iloc)
    version, _ = fields.take(8), fields.take(24)
    sizes = [8 * fields.take(4) for _ in range(4)]
    offset, length, base, index = sizes if version else [*sizes[:3], 0]
    wide = 32 if version == 2 else 16
    left = len(data)
    for _ in range(_few(fields.take(wide))):
        fields.take(wide)
        source = idat if version and fields.take(16) & 15 == 1 else data
        fields.take(16)
        start = fields.take(base)
        parts = []
        for _ in range(_few(fields.take(16))):
            fields.take(index)
            first = start + fields.take(offset)
            size = fields.take(length)
            parts.append(source[first : first + size] if size else source[first:])
            left -= len(parts[-1])
            if left < 0:
                raise ValueError("items that overlap")
        yield b"".join(parts)


def _obus(item: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_MOST):
        if at >= len(item):
            return
        head = item[at]
        at += 2 if head & 4 else 1
        size, shift = len(item) - at, 0
        if head & 2:
            size = 0
            while at < len(item) and shift < 56:
                size |= (item[at] & 127) << shift
                shift += 7
                at += 1
                if not item[at - 1] & 128:
                    break
        yield head >> 3 & 15, item[at : at + min(size, 64)]
        at += size
    raise ValueError("too many OBUs")


def _few(count: int) -> int:
    if count > _MOST:
        raise ValueError("too many items")
    return count


def _largest_frame(header: bytes) -> tuple[int, int]:
    fields = _Fields(header)
    fields.take(4)
    if fields.take(1):  # reduced_still_picture_header
        fields.take(5)
    else:
        _skip_operating_points(fields)
    width, height = fields.take(4) + 1, fields.take(4) + 1
    return fields.take(width) + 1, fields.take(height) + 1


def _skip_operating_points(fields: _Fields) -> None:
    delays = 0
    if fields.take(1):  # timing_info
        fields.take(64)
        if fields.take(1):  # equal_picture_interval: uvlc
            zeros = 0
            while zeros < 32 and not fields.take(1):
                zeros += 1
            fields.take(zeros)
        if fields.take(1):  # decoder_model_info
            delays = fields.take(5) + 1
            fields.take(42)
    displays = fields.take(1)
    for _ in range(fields.take(5) + 1):
        fields.take(12)
        if fields.take(5) > 7:  # seq_level_idx
            fields.take(1)
        if delays and fields.take(1):
            fields.take(2 * delays + 1)
        if displays and fields.take(1):
            fields.take(4)
