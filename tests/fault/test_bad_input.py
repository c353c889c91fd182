"""Bad input: `test_<fault>_<expected>`; after each the server still answers."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from recast import Client
from recast.errors import (
    InvalidImage,
    InvalidOption,
    InvalidPrompt,
    InvalidRequest,
    NotAnEdit,
    ObjectNotFound,
    Overloaded,
    RecastError,
    translate,
)
from tritonclient.utils import np_to_triton_dtype

from export.demo import world
from serving.launcher.control_client import CallError
from tests.launched import wait_for
from tests.served.pictures import animated, bomb, encoded, noise, tensor

GOOD = Image.fromarray(world.scene(world.HELD_OUT, (384, 288)).image)
PROMPT = "Replace the car with a boat"


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=60) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_answering(client):
    yield
    assert client.parse("Replace the car with a bicycle").target == "car"


@pytest.mark.parametrize(
    ("fault", "data"),
    [
        ("empty", b""),
        ("text", b"hello, I am a text file\n" * 20),
        ("truncated", encoded(GOOD, "JPEG")[:2000]),
        ("one_pixel", encoded(Image.new("RGB", (1, 1)))),
        ("bomb", bomb()),
        ("noise", noise()),
        ("animated", animated()),
        ("cut_png", encoded(GOOD)[:5000]),
        ("bmp", encoded(GOOD, "BMP")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_picture_invalid_image(client, fault, data):
    with pytest.raises(InvalidImage) as error:
        client.replace(data, PROMPT)
    assert_clean(error.value)


def test_endless_target_invalid_prompt(client, scenes):
    with pytest.raises(InvalidPrompt, match="target has 100000 characters; send at most 1000"):
        client.mask(scenes[0][0], "x" * 100_000)


def test_endless_intent_invalid_option(client, scenes):
    with pytest.raises(InvalidOption, match="the intent 'xxxxxxxxxxxxxxxxxxxx' is unknown; known: replace"):
        client.mask(scenes[0][0], "car", intent="x" * 100_000)


def test_endless_negative_prompt_invalid_prompt(client, scenes):
    picture, name = scenes[0]
    with pytest.raises(InvalidPrompt, match="negative") as error:
        client.replace(picture, f"Replace the {name} with a boat", negative_prompt="x" * 10_000)
    assert_clean(error.value)


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 10_000])
def test_bad_prompt_invalid_prompt(client, prompt):
    with pytest.raises(InvalidPrompt) as error:
        client.replace(GOOD, prompt)
    assert_clean(error.value)


@pytest.mark.parametrize("prompt", ["hello there", "What is in this picture?", "the car is red"])
def test_no_edit_asked_not_an_edit(client, prompt):
    with pytest.raises(NotAnEdit) as error:
        client.replace(GOOD, prompt)
    assert_clean(error.value)


def test_absent_object_object_not_found(client):
    with pytest.raises(ObjectNotFound, match="unicorn") as error:
        client.replace(GOOD, "replace the unicorn with a car")
    assert_clean(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"num_inference_steps": 0},
        {"num_inference_steps": 10_000},
        {"guidance_scale": float("nan")},
        {"guidance_scale": -1.0},
        {"guidance_scale": 1e9},
        {"strength": 0.0},
        {"strength": 1.5},
        {"strength": 0.1, "num_inference_steps": 4},
        {"num_images": 0},
        {"num_images": 1000},
        {"max_attempts": 0},
        {"max_attempts": 6},
        {"seed": -1},
    ],
    ids=str,
)
def test_option_out_of_range_invalid_option(client, scenes, options):
    picture, name = scenes[0]
    with pytest.raises(InvalidOption) as error:
        client.replace(picture, f"Replace the {name} with a boat", **options)
    assert_clean(error.value)


IMAGE = tensor("image", encoded(GOOD), "BYTES")
SENTENCE = tensor("prompt", PROMPT.encode(), "BYTES")


@pytest.mark.parametrize(
    "inputs",
    [
        [IMAGE],
        [SENTENCE],
        [],
        [IMAGE, SENTENCE, tensor("seed", 1.0, "FP32")],
        [IMAGE, tensor("prompt", 1, "INT64")],
        [IMAGE, tensor("prompt", [b"a", b"b"], "BYTES", (1, 2))],
        [IMAGE, tensor("prompt", [b"a", b"b"], "BYTES", (2, 1))],
        [IMAGE, SENTENCE, tensor("num_inference_steps", [2, 3], "INT32", (1, 2))],
        [IMAGE, SENTENCE, tensor("colour", b"red", "BYTES")],
        [IMAGE, tensor("prompt", b"\xff\xfe replace \xc3(", "BYTES")],
    ],
    ids=[
        "no prompt",
        "no image",
        "nothing",
        "seed float",
        "prompt integer",
        "two prompts",
        "batch of two",
        "two steps",
        "unknown input",
        "invalid UTF-8",
    ],
)
def test_malformed_request_invalid_argument(server, inputs):
    raw = triton.InferenceServerClient(server.grpc_url)
    with pytest.raises(triton.InferenceServerException) as error:
        raw.infer("replace", inputs)
    said = translate(error.value, url=server.grpc_url, timeout=None)
    assert isinstance(said, InvalidRequest)
    assert_clean(said)


WITHOUT = {
    "replace": {"image": InvalidImage, "prompt": InvalidPrompt},
    "replace_stream": {"image": InvalidImage, "prompt": InvalidPrompt},
    "parse": {"prompt": InvalidPrompt},
    "admit": {"prompt": InvalidPrompt},
    "mask": {"image": InvalidImage, "target": InvalidOption},
    "inpaint": {"image": InvalidImage, "mask_image": InvalidOption, "caption": InvalidOption},
}
"""What each model requires, and the error of a request without it."""
GIVEN = {
    "image": encoded(GOOD),
    "prompt": PROMPT.encode(),
    "target": b"car",
    "mask_image": encoded(Image.new("L", GOOD.size, 255)),
    "caption": b"a boat",
}
BESIDE = {"seed": np.array([[1]]), "num_inference_steps": np.array([[2]], np.int32)}
"""Optional inputs that hide from Triton that it was sent too few."""


def without(model: str, absent: str, beside: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = {name: np.array([[GIVEN[name]]], object) for name in WITHOUT[model] if name != absent}
    return given | (beside if model in ("replace", "replace_stream", "inpaint") else {})


@pytest.mark.parametrize("protocol", ["grpc", "http", "stream"])
@pytest.mark.parametrize("beside", [{}, BESIDE], ids=["alone", "beside options"])
@pytest.mark.parametrize(("model", "absent"), [(model, name) for model, names in WITHOUT.items() for name in names])
def test_missing_input_is_named(server, model, absent, beside, protocol):
    if model == "replace_stream" and protocol != "stream":
        pytest.skip("a decoupled model answers streams alone")
    said = []

    def answered() -> bool:  # many in half a second are more than admit takes for edits under way
        failure = refusal(server, protocol, model, without(model, absent, beside))
        said.append(translate(failure, url="", timeout=None))
        return not isinstance(said[-1], Overloaded)

    wait_for(answered)
    assert type(said[-1]) is WITHOUT[model][absent]
    assert said[-1].sentence == f"the input '{absent}' is missing."


def refusal(server, protocol: str, model: str, arrays: dict[str, np.ndarray]) -> triton.InferenceServerException:
    """What the server answers to the request."""
    if protocol == "http":
        with pytest.raises(CallError) as refused:
            server.control.infer(model, arrays, 20)
        assert refused.value.status in (400, 503)
        return triton.InferenceServerException(refused.value.message)
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(server.grpc_url) as raw:
        if protocol == "grpc":
            with pytest.raises(triton.InferenceServerException) as error:
                raw.infer(model, inputs, client_timeout=20)
            return error.value
        answers: queue.Queue = queue.Queue()
        raw.start_stream(lambda result, error: answers.put(error))
        raw.async_stream_infer(model, inputs)
        return answers.get(timeout=20)


def assert_clean(error: RecastError) -> None:
    """One readable sentence or two, nothing of the server's inside."""
    text = str(error)
    assert 10 < len(text) < 600
    for leak in ("Traceback", 'File "', "/", ".py", "0x"):
        assert leak not in text, text
