"""The Python-based onnxruntime backend inside a real tritonserver: any ONNX model from its config alone."""

import re

import numpy as np
import pytest
import tritonclient.grpc as grpc
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from serving.launcher.control_client import CallError
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests.served.onnx_models import LOOKUP, SCALE_ROWS, TALLY, identity, lookup, scale_rows, tally, write
from tests.served.triton_calls import at_once, call

# The delay keeps the batcher waiting for company, so that concurrent requests do share one execute().
TOGETHER = "dynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 4 ] }\n"
OPENVINO = """optimization { execution_accelerators { cpu_execution_accelerator [ {
  name: "openvino" parameters { key: "INFERENCE_PRECISION_HINT" value: "f32" }
} ] } }
"""
ELEMENTS = {"FP16": TensorProto.FLOAT16, "INT64": TensorProto.INT64, "BOOL": TensorProto.BOOL,
            "UINT8": TensorProto.UINT8}  # fmt: skip


def same(element: str, extra: str = "") -> str:
    return (
        "max_batch_size: 0\ninstance_group [ { kind: KIND_CPU count: 1 } ]\n"
        f'input [ {{ name: "x" data_type: TYPE_{element} dims: [ 2, -1 ] }} ]\n'
        f'output [ {{ name: "y" data_type: TYPE_{element} dims: [ 2, -1 ] }} ]\n{extra}'
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    write(folder, "tally", TALLY + TOGETHER, tally())
    write(folder, "tally_openvino", TALLY + TOGETHER + OPENVINO, tally())
    write(folder, "lookup", LOOKUP + TOGETHER, lookup())
    write(folder, "scale_rows", SCALE_ROWS, scale_rows())
    for element, number in ELEMENTS.items():
        write(folder, f"same_{element}", same(element), identity(number, [2, "n"]))
    named = same("INT64", 'default_model_filename: "network.onnx"\n')
    write(folder, "named", named, identity(TensorProto.INT64, [2, "n"]), filename="network.onnx")
    return folder


@pytest.fixture(scope="module")
def running(repository):
    with start(ServerOptions(repository, ready_model="tally")) as server:
        yield server


@pytest.fixture(scope="module")
def client(running):
    return grpc.InferenceServerClient(running.grpc_url)


def row(*values, dtype=np.float32):
    return np.array([values], dtype)


def test_requests_of_one_shape_run_together_and_each_gets_its_own_rows(client):
    requests = [{"x": row(1, 2)}, {"x": row(3, 4)}, {"x": np.array([[5, 6], [7, 8]], np.float32)}]
    answers = at_once(client, "tally", requests)
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])
        assert answer["company"].tolist() == [[4]] * len(request["x"])


def test_requests_of_different_shapes_do_not_mix(client):
    requests = [{"x": row(1, 2)}, {"x": row(3, 4, 5)}, {"x": row(6, 7)}, {"x": row(8)}]
    for request, answer in zip(requests, at_once(client, "tally", requests), strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])


def test_openvino_serves_the_same(client):
    requests = [{"x": row(n, n + 1)} for n in range(4)]
    for request, answer in zip(requests, at_once(client, "tally_openvino", requests), strict=True):
        np.testing.assert_array_equal(answer["doubled"], 2 * request["x"])
        assert answer["company"].tolist() == [[4]]


def test_only_the_requested_outputs_are_sent(client):
    assert set(call(client, "tally", ["company"], x=row(1))) == {"company"}


def test_a_guilty_request_fails_alone(client):
    answers = at_once(client, "lookup", [{"index": row(i, dtype=np.int64)} for i in (0, 99, 2, 1)])
    assert [answers[i]["value"].item() for i in (0, 2, 3)] == [10, 30, 20]
    assert isinstance(answers[1], InferenceServerException)
    assert answers[1].status() == "StatusCode.INVALID_ARGUMENT"
    assert "idx=99" in answers[1].message()


def test_a_shape_the_model_does_not_take_is_an_invalid_argument(client):
    requests = [{"index": row(0, dtype=np.int64)}, {"index": row(0, 1, dtype=np.int64)}]
    good, bad = at_once(client, "lookup", requests)
    assert good["value"].item() == 10
    assert bad.status() == "StatusCode.INVALID_ARGUMENT"
    assert "input 'index' is INT64 [1, 2] and the model takes INT64 [-1, 1]" in bad.message()


def test_shapes_that_do_not_fit_together_are_an_invalid_argument_without_the_runtimes_own_words(client):
    with pytest.raises(InferenceServerException) as error:
        call(client, "scale_rows", x=np.ones((2, 2), np.float32), factor=np.ones((3, 1), np.float32))
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "/" not in error.value.message()


def test_a_wrong_dtype_is_an_invalid_argument(client):
    with pytest.raises(InferenceServerException) as error:
        call(client, "tally", x=row(1, dtype=np.int64))
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_missing_input_is_an_invalid_argument(client):
    with pytest.raises(InferenceServerException) as error:
        call(client, "scale_rows", x=row(1, 2))
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_an_input_reshaped_to_a_scalar_a_row_reaches_the_model_so(client):
    x = np.array([[1, 2], [3, 4]], np.float32)
    answer = call(client, "scale_rows", x=x, factor=np.array([[10], [100]], np.float32))
    assert answer["scaled"].tolist() == [[10, 20], [300, 400]]


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_model_without_batch_axis_keeps_shape_and_dtype(client, element):
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(element.lower().replace("fp", "float"))
    y = call(client, f"same_{element}", x=x)["y"]
    assert y.dtype == x.dtype
    assert y.tolist() == x.tolist()


def test_default_model_filename_is_honoured(client):
    assert call(client, "named", x=np.ones((2, 1), np.int64))["y"].tolist() == [[1], [1]]


BROKEN = {
    "wrong_dtype": (TALLY.replace("TYPE_FP32", "TYPE_FP16"), "input 'x' is FP32 [-1, -1] in the model"),
    "wrong_rank": (TALLY.replace("dims: [ -1 ]", "dims: [ -1, 4 ]"), "and FP32 [-1, -1, 4] in the config"),
    "wrong_name": (TALLY.replace('"x"', '"y"'), "the model has no input 'y', only x"),
    "unknown_parameter": (
        TALLY.replace("intra_op_thread_count", "threads"),
        "unknown parameters threads; known:",
    ),
    "unknown_accelerator": (
        TALLY + OPENVINO.replace('"openvino"', '"warp"'),
        "no execution accelerator 'warp'",
    ),
    "wrong_file": (TALLY + 'default_model_filename: "absent.onnx"\n', "there is no absent.onnx in version 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_config_that_does_not_fit_fails_the_load_and_says_what_differs(running, repository, name):
    config, reason = BROKEN[name]
    write(repository, name, config, tally())
    with pytest.raises(CallError, match=re.escape(reason)):
        running.control.load(name)
    assert running.control.ready("tally")


def test_a_fixed_batch_axis_fails_the_load(running, repository):
    config = TALLY.split("output")[0] + 'output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]\n'
    write(repository, "fixed_batch", config, identity(TensorProto.FLOAT, [1, "n"]))
    reason = "input 'x' has a fixed batch axis, FP32 [1, -1]"
    with pytest.raises(CallError, match=re.escape(reason)):
        running.control.load("fixed_batch")
