"""Held-out scenes and encoded files for the served tests."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from export.demo import world

SCENES = tuple(range(world.HELD_OUT + 10, world.HELD_OUT + 18))


def scene(seed: int = SCENES[0], size: tuple[int, int] = (384, 288)) -> tuple[Image.Image, str]:
    """A scene's picture and the name of its largest thing, colour and kind."""
    drawn = world.scene(seed, size)
    largest = max(drawn.things, key=lambda thing: thing.mask.sum())
    return Image.fromarray(drawn.image), world.phrase(largest)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes whose header claims side × side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def animated() -> bytes:
    frames = [Image.new("P", (64, 64), n) for n in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def noise(length: int = 20_000_000) -> bytes:
    return np.random.default_rng(0).bytes(length)
