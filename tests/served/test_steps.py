"""serving.steps.step inside a real tritonserver: what every step of ours relies on."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from serving.environment import INFLIGHT
from serving.inflight import InFlight
from serving.launcher.control_client import CallError
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.steps.canary import share_point
from tests.conftest import REPOSITORY
from tests.served.onnx_models import TALLY, tally, write
from tests.served.triton_calls import at_once, call

STEPS = Path(__file__).parent / "steps"
CANARIES = {"divided": {"release": 7, "canary": 8, "share": 0.5}, "orphan": {"release": 7, "canary": 8, "share": 0.0}}
"""Copies of the step `together`: one shares its requests with release 7, the other's release 7 is gone."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    write(folder, "tally", TALLY, tally())
    for step in STEPS.iterdir():
        place(step, folder / step.name, 7)
    place(STEPS / "together", folder / "divided", 7, 8)
    place(STEPS / "together", folder / "orphan", 8)
    shutil.copytree(REPOSITORY / "admit", folder / "admit")
    config = (REPOSITORY / "admit" / "config.pbtxt").read_text()
    for name, number in (("all", 2), ("least", 2), ("bulk", 1)):
        config = re.sub(rf'(key: "{name}" value {{ string_value: )"\d+"', rf'\1"{number}"', config)
    (folder / "admit" / "config.pbtxt").write_text(config)
    (folder / "releases.json").write_text(json.dumps(CANARIES))
    with start(ServerOptions(folder, ready_model="outer")) as server:
        yield server


def place(step, model, *versions):
    """The step's files as `versions` of the folder `model`."""
    for version in versions:
        shutil.copytree(step, model / str(version))
        (model / str(version) / "config.pbtxt").rename(model / "config.pbtxt")


@pytest.fixture(scope="module")
def client(server):
    return grpc.InferenceServerClient(server.grpc_url)


@pytest.fixture
def logged(server):
    """The fields of the server's next line about a request id, which comes a moment after the answer."""

    def logged(request_id, within=5):
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for line in server.log_path.read_text().splitlines():
                if f"request_id={request_id} " in line:
                    return dict(field.split("=", 1) for field in line.strip('"').split() if "=" in field)
            time.sleep(0.05)
        raise AssertionError(f"no line about {request_id}")

    return logged


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


@pytest.mark.parametrize("out_of_memory", [b"python", b"torch", b"onnxruntime"])
def test_a_request_without_memory_is_overloaded_and_costs_its_neighbours_nothing(client, out_of_memory):
    prompts = (b"one", out_of_memory, b"two")
    one, failed, two = at_once(client, "together", [{"prompt": words(prompt)} for prompt in prompts])
    assert (one["answer"].item(), two["answer"].item()) == (b"one 7", b"two 7")
    assert failed.status() == "StatusCode.UNAVAILABLE"
    assert failed.message().startswith("overloaded: there is no memory for this request now")


def test_a_canary_answers_its_share_and_passes_on_the_others(client):
    prompts = [f"word {n}".encode() for n in range(16)]
    answers = at_once(client, "divided", [{"prompt": words(prompt)} for prompt in prompts])
    expected = [b"%s %d" % (prompt, 8 if share_point(prompt) < 0.5 else 7) for prompt in prompts]
    assert [answer["answer"].item() for answer in answers] == expected
    assert len({answer[-1:] for answer in expected}) == 2


def test_two_rows_in_one_request_cost_its_neighbours_beside_a_canary_nothing(client):
    rows = np.array([[b"one"], [b"two"]], object)
    answers = at_once(client, "divided", [{"prompt": words(b"three")}, {"prompt": rows}, {"prompt": words(b"four")}])
    assert [answers[n]["answer"].item()[:-2] for n in (0, 2)] == [b"three", b"four"]
    assert answers[1].status() == "StatusCode.INVALID_ARGUMENT"
    assert answers[1].message() == "invalid_prompt: 'prompt' has shape [2, 1]; send one value, shape [1, 1]."


def test_a_request_for_a_release_that_is_gone_is_restarting_and_logged(client, logged):
    with pytest.raises(InferenceServerException) as error:
        infer(client, "orphan", b"well", request_id="for-the-gone")
    assert error.value.status() == "StatusCode.UNAVAILABLE"
    assert "restarting: the model 'orphan' is being started again" in error.value.message()
    assert logged("for-the-gone")["outcome"] == "restarting"


def test_no_id_that_a_caller_can_think_of_keeps_an_error_out_of_the_log(client, logged):
    with pytest.raises(InferenceServerException):
        infer(client, "inner", b"typed", request_id="canary")
    assert logged("canary")["outcome"] == "object_not_found"


def test_the_servers_own_inferences_are_not_logged(server, client, logged):
    with pytest.raises(CallError, match="object_not_found"):
        server.control.infer("inner", {"prompt": words(b"typed")}, 10)
    with pytest.raises(InferenceServerException):
        infer(client, "inner", b"typed", request_id="after-the-probe")
    logged("after-the-probe")
    assert server.control.probe_id
    assert server.control.probe_id not in server.log_path.read_text()


def ask_for(client, seconds, model, prompt):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        infer(client, model, prompt)


def infer(client, model, prompt, **options):
    tensor = grpc.InferInput("prompt", [1, 1], "BYTES")
    tensor.set_data_from_numpy(words(prompt))
    return client.infer(model, [tensor], **options)


def test_parameters_of_any_type_can_be_passed_on(client):
    for key in range(8):
        given = {"canary_key": str(key), "count": 3, "on": True, "share": 0.5}
        assert infer(client, "divided", b"well", parameters=given).as_numpy("answer").item().startswith(b"well")


def test_a_health_probe_is_no_edit_that_admit_would_refuse(server, client):
    variables = Path(f"/proc/{server.pid}/environ").read_bytes().decode().split("\0")
    (folder,) = (variable.partition("=")[2] for variable in variables if variable.startswith(f"{INFLIGHT}="))
    with InFlight("inpaint", Path(folder)).counting(2):
        with pytest.raises(InferenceServerException, match="overloaded: as many"):
            ask_for(client, 30, "admit", b"well")  # until admit has measured what is under way
        for _ in range(5):
            assert server.control.infer("admit", {"prompt": words(b"well")}, 10)["admitted_prompt"].item() == b"well"
