"""Answers for the scripted server to give to a client, and the awaiting client in the blocking one's shape."""

import asyncio
import io
import json
import time
from collections.abc import Callable

import grpc
import numpy as np
import recast
from PIL import Image

SENTENCE = "Replace the car with a bicycle"
OVERLOADED = (grpc.StatusCode.UNAVAILABLE, "in ensemble 'replace', overloaded: the queue is full, try again.")


def blob(*values: bytes) -> np.ndarray:
    return np.array([list(values)], dtype=np.object_)


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(file, format="PNG")
    return file.getvalue()


def edit(seed: int = 7, count: int = 1) -> dict[str, np.ndarray]:
    return {
        "edited_image": blob(*[picture(seed + i) for i in range(count)]),
        "mask_image": blob(picture(255)),
        "intent": blob(b"replace"),
        "target": blob("voiture à gauche".encode()),
        "replacement": blob(b"bicycle"),
        "parse_score": np.array([[0.5]], np.float32),
        "mask_score": np.array([[0.25]], np.float32),
        "edit_score": np.array([[0.75]], np.float32),
        "used_seed": np.array([[seed + i for i in range(count)]], np.int64),
        "report": blob(json.dumps({"milliseconds": {"parse": 1.5}}).encode()),
    }


PARSE = {
    "intent": blob(b"remove"),
    "target": blob(b"dog"),
    "replacement": blob(b""),
    "caption": blob(b"empty background"),
    "parse_score": np.array([[0.75]], np.float32),
    "parse_report": blob(b"{}"),
}
MASK = {
    "mask_image": blob(picture(255)),
    "object_mask": blob(picture(200)),
    "mask_score": np.array([[0.5]], np.float32),
    "mask_report": blob(b"{}"),
}


def until(condition: Callable[[], object]) -> None:
    """Wait for an event that nothing tells of."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Awaited:
    """AsyncClient with blocking methods, so that each test runs over both clients."""

    def __init__(self, *arguments, **options):
        self._loop = asyncio.new_event_loop()
        self._client = recast.AsyncClient(*arguments, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def replace_stream(self, *arguments, **options):
        steps = self._client.replace_stream(*arguments, **options)
        try:
            while True:
                yield self._loop.run_until_complete(steps.__anext__())
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(steps.aclose())

    def __getattr__(self, name):
        return lambda *a, **k: self._loop.run_until_complete(getattr(self._client, name)(*a, **k))


def answer(street, count=1):
    """Outputs of all three models at once: the picture itself as the edit and as the mask."""
    data = street.read_bytes()
    return {
        "edited_image": blob(*[data] * count),
        "mask_image": blob(data),
        "object_mask": blob(data + b"tight"),
        "intent": blob(b"replace"),
        "target": blob(b"car"),
        "replacement": blob(b"bicycle"),
        "caption": blob(b"a bicycle"),
        "parse_score": np.array([[0.98]], np.float32),
        "mask_score": np.array([[0.91]], np.float32),
        "edit_score": np.array([[0.97]], np.float32),
        "used_seed": np.array([[5 + i for i in range(count)]], np.int64),
        "report": blob(b'{"milliseconds": {"parse": 310, "mask": 220, "inpaint": 2900}}'),
        "parse_report": blob(b"{}"),
        "mask_report": blob(b"{}"),
    }
