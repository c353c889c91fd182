"""The smoke test of a release: served under another name, its step answers a real request before callers get there."""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from google.protobuf import text_format
from PIL import Image

from serving.releases.control import LOAD_TIMEOUT, Answer, Control
from serving.releases.repository import Release

SIDE, HOLE = 256, (85, 85, 171, 171)
TIMEOUT = 600.0
"""Seconds: the first inference of a large network compiles it."""


def smoke_test(control: Control, release: Release, model: str) -> None:
    """Serve the release's `model` as ".smoke-test-MODEL", with one instance, and call it; BadRelease says what fails.

    Its networks must be loaded at the release's version. Nothing of the test is left.
    """
    name = f".smoke-test-{model}"
    folder = release.repository / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        config = control.config(model)
        config.name = name
        del config.instance_group[1:]
        config.instance_group[0].count = 1
        (folder / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
        (folder / str(release.number)).symlink_to(os.path.relpath(release.folder(model), folder))
        control.load(name, timeout=LOAD_TIMEOUT)
        if model in _CALLS:
            _CALLS[model](lambda **inputs: control.infer(name, _tensors(inputs), TIMEOUT), release.number)
    except Exception as error:  # whatever it is: a release that cannot be tried is not put in force
        why = str(error).partition("\n")[0] or type(error).__name__
        raise release.refused(f"fails its smoke test: {why}") from error
    finally:
        with suppress(Exception):  # a release that did not load does not unload either
            control.unload(name, timeout=LOAD_TIMEOUT)
        shutil.rmtree(folder)


Call = Callable[..., Answer]


class _Unfit(Exception):
    """It answers, but not as the step should."""


def _parse(call: Call, number: int) -> None:
    sentence = f"Replace the car with a bicycle {secrets.token_hex(2)}"
    answer = call(prompt=sentence.encode())
    intent, score = _value(answer, "intent").decode(), float(_value(answer, "parse_score"))
    if intent != "replace" or not 0 <= score <= 1:
        raise _Unfit(f'it reads "{sentence}" as {intent} with the score {score:.2f}')


def _mask(call: Call, number: int) -> None:
    try:
        answer = call(image=_file(_ramps()), target=b"car", intent=b"replace")
    except Exception as error:
        if getattr(error, "name", "") == "object_not_found":  # nothing need be found in a made-up picture
            return
        raise
    score, mask = float(_value(answer, "mask_score")), _picture(_value(answer, "mask_image"))
    if not math.isfinite(score) or mask.size != (SIDE, SIDE):
        raise _Unfit(f"its mask has the size {mask.size} and the score {score:.2f}")


def _inpaint(call: Call, number: int) -> None:
    before, hole = _ramps(), Image.new("L", (SIDE, SIDE))
    hole.paste(255, HOLE)
    steps = np.array([[2]], np.int32)
    answer = call(image=_file(before), mask_image=_file(hole), caption=b"a bicycle", num_inference_steps=steps)
    after, report = _picture(_value(answer, "edited_image")), json.loads(_value(answer, "report"))
    if (after.mode, after.size) != (before.mode, before.size):
        raise _Unfit(f"it answers with a picture {after.mode} {after.size}")
    if report["releases"]["inpaint"] != number:
        raise _Unfit(f"it says that it is release {report['releases']['inpaint']}")
    if np.asarray(after.crop(HOLE), np.float32).std(axis=(0, 1)).max() < 1:
        raise _Unfit("it paints nothing but one colour")


_CALLS: dict[str, Callable[[Call, int], None]] = {"parse": _parse, "mask": _mask, "inpaint": _inpaint}


def _ramps() -> Image.Image:
    """Colours that change along both axes."""
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((SIDE, SIDE), secrets.randbelow(256), np.uint8)], axis=-1)
    return Image.fromarray(pixels)


def _file(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _picture(content: bytes) -> Image.Image:
    """The picture in a file's bytes, read to its last pixel."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def _tensors(inputs: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        name: np.array([[value]], np.object_) if isinstance(value, bytes) else value for name, value in inputs.items()
    }


def _value(answer: Answer, name: str) -> Any:
    return answer.as_numpy(name).reshape(-1)[0]
