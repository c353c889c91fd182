"""A real inference on every step of a running server: a warm-up, and proof that it works, not only answers.

The picture and its mask are made up, so it does not matter what the weights know.
"""

from __future__ import annotations

import secrets

import numpy as np

from serving.errors import EditError
from serving.local import CallError, Local
from serving.picture import Picture, encode, encode_mask
from serving.preflight import LaunchError

SIDE = 256
SENTENCE = "Replace the car with a bicycle"
EXPECTED = ("not_an_edit", "object_not_found")
"""Errors of steps that work: the weights need not find anything in the made-up picture."""


def probe(server: Local, timeout: float) -> None:
    """Call parse, mask and inpaint once each; LaunchError says which of them fails. `timeout` in seconds a call."""
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((SIDE, SIDE), 128, np.uint8)], axis=-1)
    picture = encode(Picture("RGB", pixels))
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[SIDE // 3 : -SIDE // 3, SIDE // 3 : -SIDE // 3] = 255
    nonce = secrets.token_hex(4)  # nothing that a step remembers
    calls: dict[str, dict[str, bytes | str | int]] = {
        "parse": {"prompt": f"{SENTENCE} {nonce}"},
        "mask": {"image": picture, "target": f"car {nonce}"},
        "inpaint": {
            "image": picture,
            "mask_image": encode_mask(hole),
            "caption": "a bicycle",
            "num_inference_steps": 2,
        },
    }
    for model, values in calls.items():
        try:
            server.infer(model, {name: _array(value) for name, value in values.items()}, timeout)
        except CallError as error:
            typed = EditError.parse(error.message)
            if typed is None or typed.name not in EXPECTED:
                raise LaunchError(f"the step '{model}' fails on a plain request: {error.message}") from None


def _array(value: bytes | str | int) -> np.ndarray:
    content = value.encode() if isinstance(value, str) else value
    return np.array([[content]], np.int32 if isinstance(value, int) else np.object_)
