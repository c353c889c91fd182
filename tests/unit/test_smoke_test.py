"""The smoke test of a release against answers that a step must not give, and what is left of it."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.releases.errors import BadRelease
from serving.releases.repository import Release
from serving.releases.smoke_test import SIDE, smoke_test


class Answering:
    """Control of a server that loads everything and gives one answer, or raises it."""

    def __init__(self, answer):
        self.answer = answer
        self.known = set()

    def config(self, model):
        config = ModelConfig(name=model)
        config.instance_group.add(count=4)
        config.instance_group.add(count=4)
        return config

    def load(self, model, *, timeout):
        self.known.add(model)

    def unload(self, model, *, timeout):
        self.known.remove(model)

    def infer(self, model, inputs, timeout):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self

    def as_numpy(self, name):
        return np.array([self.answer[name]], np.object_)


class ObjectNotFound(Exception):
    name = "object_not_found"


def png(size=SIDE, mode="RGB", noise=255):
    pixels = np.random.default_rng(0).integers(0, noise, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def painted(picture, release=1):
    return {"edited_image": picture, "report": json.dumps({"releases": {"inpaint": release}}).encode()}


@pytest.fixture
def release(tmp_path):
    for step in ("parse", "mask", "inpaint"):
        (tmp_path / step / "1").mkdir(parents=True)
    return lambda step: Release(tmp_path, step, 1)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("parse", {"intent": b"replace", "parse_score": 0.9}),
        ("mask", {"mask_score": 0.9, "mask_image": png(mode="L")}),
        ("mask", ObjectNotFound("there is no car")),
        ("inpaint", painted(png())),
        ("replace_stream", {}),
    ],
)
def test_a_step_that_answers_as_it_should_passes_and_nothing_is_left(release, step, answer):
    control, tested = Answering(answer), release("inpaint" if step == "replace_stream" else step)
    smoke_test(control, tested, step)
    assert control.known == set()
    assert not list(tested.repository.glob(".smoke-test-*"))


@pytest.mark.parametrize(
    ("step", "answer", "why"),
    [
        ("parse", {"intent": b"remove", "parse_score": 0.5}, r"it reads .* as remove with the score 0\.50"),
        ("parse", {"intent": b"replace", "parse_score": 1.5}, r"with the score 1\.50"),
        ("mask", {"mask_score": np.nan, "mask_image": png(mode="L")}, "the score nan"),
        ("mask", {"mask_score": 0.9, "mask_image": png(8, "L")}, r"the size \(8, 8\)"),
        ("mask", {"mask_score": 0.9, "mask_image": b"no picture"}, "cannot identify image file"),
        ("inpaint", painted(png(mode="L")), "a picture L"),
        ("inpaint", painted(png(), release=2), "it says that it is release 2"),
        ("inpaint", painted(png(noise=1)), "paints nothing but one colour"),
        ("inpaint", RuntimeError("first line\nFile model.py, line 3"), r"first line\."),
        ("inpaint", RuntimeError(), "RuntimeError"),
    ],
)
def test_a_step_that_does_not_is_refused_in_one_line(release, step, answer, why):
    control, tested = Answering(answer), release(step)
    with pytest.raises(BadRelease, match=f"release 1 of {step} fails its smoke test: .*{why}") as refused:
        smoke_test(control, tested, step)
    assert "\n" not in str(refused.value)
    assert control.known == set()
    assert not list(tested.repository.glob(".smoke-test-*"))
