"""serving.steps.step inside a real tritonserver: what every step of ours relies on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests.served.onnx_models import TALLY, tally, write
from tests.served.triton_calls import at_once, call


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    write(folder, "tally", TALLY, tally())
    for step in (Path(__file__).parent / "steps").iterdir():
        shutil.copytree(step, folder / step.name / "7")
        (folder / step.name / "7" / "config.pbtxt").rename(folder / step.name / "config.pbtxt")
    with start(ServerOptions(folder, ready_model="outer")) as server:
        yield grpc.InferenceServerClient(server.grpc_url)


def words(*values):
    return np.array([values], dtype=object)


def failure(client, model, **arrays):
    with pytest.raises(InferenceServerException) as error:
        call(client, model, **arrays)
    return error.value.status(), error.value.message()


def test_load_gets_the_version_folder_the_version_the_parameters_and_the_device(client):
    answer = call(client, "inner", prompt=words(b"well"))["answer"]
    assert answer.tolist() == [[b"well 7 7 hi cpu\0"] * 3]


def test_an_optional_number_wins_over_its_default(client):
    assert call(client, "inner", prompt=words(b"a"), num_images=np.array([[1]], np.int32))["count"].item() == 1


def test_a_typed_error_keeps_its_code_and_costs_its_neighbours_nothing(client):
    prompts = [b"one", b"typed", b"bug", b"two"]
    answers = at_once(client, "inner", [{"prompt": words(prompt)} for prompt in prompts])
    assert answers[0]["answer"][0, 0].startswith(b"one")
    assert answers[3]["answer"][0, 0].startswith(b"two")
    assert answers[1].status() == "StatusCode.NOT_FOUND"
    assert answers[1].message() == "object_not_found: there is no typed: look again."
    assert answers[2].status() == "StatusCode.INTERNAL"
    assert answers[2].message() == "internal: the server failed on this request; its log says why."


def test_invalid_utf8_and_more_than_one_value_are_invalid(client):
    status, message = failure(client, "inner", prompt=words(b"\xff\xfe"))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert message == "invalid_prompt: 'prompt' is not valid UTF-8; encode the text as UTF-8."
    _, message = failure(client, "inner", prompt=words(b"a", b"b"))
    assert message == "invalid_prompt: 'prompt' has shape [1, 2]; send one value, shape [1, 1]."


def test_the_arrays_of_a_call_outlive_it(client):
    assert call(client, "outer", prompt=words(b"well"))["intact"].item()


def test_a_called_steps_typed_error_passes_through(client):
    status, message = failure(client, "outer", prompt=words(b"typed"))
    assert status == "StatusCode.NOT_FOUND"
    assert message == "object_not_found: there is no typed: look again."


def test_a_call_of_a_model_that_is_not_there_is_restarting(client):
    """Triton says the same of one that never was as of one between an unload and a load."""
    status, message = failure(client, "outer", prompt=words(b"absent"))
    assert status == "StatusCode.UNAVAILABLE"
    assert message.startswith("restarting: the model 'absent'")
