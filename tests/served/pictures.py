"""Held-out scenes that the demo weights understand, and encoded files good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import tritonclient.grpc as triton
from PIL import Image
from recast import Client, ObjectNotFound
from tritonclient.utils import triton_to_np_dtype

from export.demo import world

LOOKED_AT = 60
"""So many scenes are looked at before the weights are held to be at fault."""


def understood(client: Client, kind: str | None = None) -> Iterator[tuple[world.Scene, world.Thing]]:
    """Held-out scenes and a thing in each, the only one of its kind, whose outline the server finds well.

    Tests of serving must not depend on which scenes the weights of the day find hard; how many those are is
    measured by benchmarks.quality. Fails when the weights are too poor to serve anything.
    """
    looked_at = 0
    for seed in range(world.HELD_OUT, world.HELD_OUT + 10_000):
        scene = world.draw(world.plan(seed), (384, 288))
        for thing in scene.things:
            alone = sum(other.kind == thing.kind for other in scene.things) == 1
            large = 0.03 < (thing.mask > 127).mean() < 0.3
            if not (alone and large and kind in (None, thing.kind)):
                continue
            looked_at += 1
            assert looked_at <= LOOKED_AT, "the demo weights find hardly any object"
            if _found_well(client, scene, thing):
                yield scene, thing
                break


def _found_well(client: Client, scene: world.Scene, thing: world.Thing) -> bool:
    try:
        outline = np.asarray(client.mask(Image.fromarray(scene.image), thing.kind).object_mask) > 127
    except ObjectNotFound:
        return False
    true = thing.mask > 127
    return (outline & true).sum() > 0.6 * (outline | true).sum()


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tensor(name: str, value, dtype: str, shape: tuple[int, int] = (1, 1)) -> triton.InferInput:
    """One input of a raw request: a value, or a list of as many as `shape` holds."""
    array = np.empty(shape, object if dtype == "BYTES" else triton_to_np_dtype(dtype))
    array.ravel()[:] = value
    made = triton.InferInput(name, list(shape), dtype)
    made.set_data_from_numpy(array)
    return made


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes whose header claims side × side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def animated() -> bytes:
    frames = [Image.new("P", (64, 64), n) for n in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def noise(length: int = 20_000_000) -> bytes:
    return np.random.default_rng(0).bytes(length)
