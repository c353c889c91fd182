"""What the onnxruntime backend does without Triton: merging, splitting, refusing."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serving.onnx_backend.config import ConfigError, Settings
from serving.onnx_backend.network import InputError, Network, input_error
from tests.served.onnx_models import graph, identity, lookup, tally

FLOAT = TensorProto.FLOAT
OPENVINO = {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}}


def port(name, dims, dtype="TYPE_FP32", **more):
    return {"name": name, "dims": dims, "data_type": dtype, **more}


def threads(count):
    return {"intra_op_thread_count": {"string_value": str(count)}}


def network(tmp_path, model, inputs, outputs, gpu=None, **more):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    config = {"max_batch_size": 8, "input": inputs, "output": outputs, "parameters": threads(1), **more}
    return Network(path, config, gpu)


@pytest.fixture
def tallying(tmp_path):
    outputs = [port("doubled", [-1]), port("company", [1], "TYPE_INT64", reshape={"shape": []})]
    return network(tmp_path, tally(), [port("x", [-1])], outputs)


def ones(*shape):
    return {"x": np.ones(shape, np.float32)}


def test_one_run_serves_the_requests_of_one_shape_and_each_gets_what_it_wants(tallying):
    requests = [ones(1, 4), ones(2, 3), ones(3, 4)]
    answers = tallying.run_all(requests, [["company"], ["doubled"], ["company", "doubled"]])
    assert [set(answer) for answer in answers] == [{"company"}, {"doubled"}, {"company", "doubled"}]
    assert answers[0]["company"].tolist() == [4]
    assert answers[2]["company"].tolist() == [4, 4, 4]
    assert answers[1]["doubled"].tolist() == [[2, 2, 2]] * 2


@pytest.mark.parametrize("cores", [1, 2])
def test_rows_are_computed_a_few_at_once_where_the_config_says_so(tmp_path, cores):
    outputs = [port("doubled", [-1]), port("company", [1], "TYPE_INT64", reshape={"shape": []})]
    parameters = {**threads(cores), "rows_at_once": {"string_value": "2"}}
    sliced = network(tmp_path, tally(), [port("x", [-1])], outputs, parameters=parameters)
    rows = np.arange(20, dtype=np.float32).reshape(5, 4)
    together, alone = sliced.run_all([{"x": rows}, {"x": rows[:1]}], [["company", "doubled"]] * 2)
    assert (together["doubled"] == 2 * rows).all()
    assert (alone["doubled"] == 2 * rows[:1]).all()
    assert max(together["company"]) == 2


def test_bad_requests_are_refused_one_by_one(tallying):
    requests = [ones(1, 4), {}, {"x": np.ones((1, 4), np.float64)}, ones(1, 4, 1), ones(1, 4)]
    answers = tallying.run_all(requests, [["company"]] * 5)
    assert answers[0]["company"].tolist() == answers[4]["company"].tolist() == [2]
    assert [str(answer) for answer in answers[1:4]] == [
        "input 'x' is missing",
        "input 'x' is FP64 [1, 4] and the model takes FP32 [-1, -1]",
        "input 'x' is FP32 [1, 4, 1] and the model takes FP32 [-1, -1]",
    ]
    assert all(isinstance(answer, InputError) for answer in answers[1:4])


def test_a_failed_run_is_repeated_one_by_one(tmp_path):
    table = network(tmp_path, lookup(), [port("index", [1], "TYPE_INT64")], [port("value", [1])])
    requests = [{"index": np.array([[i]])} for i in (2, 3, 0)]
    good, bad, last = table.run_all(requests, [["value"]] * 3)
    assert good["value"].item() == 30
    assert isinstance(bad, InputError)
    assert last["value"].item() == 10


def test_a_runtimes_own_words_stay_with_the_operator():
    cause = RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Status Message: /src/reshape_helper.h:84 no")
    error = input_error({"x": np.ones((2, 3), np.float32)}, cause)
    assert str(error) == "the network cannot be run on x FP32 [2, 3]"
    assert error.__cause__ is cause
    assert isinstance(input_error({}, MemoryError()), MemoryError)


def test_an_output_without_the_batch_axis_is_found_when_requests_merge(tmp_path):
    total = graph(
        [helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0)],
        [("x", FLOAT, ["batch", 2])],
        [("sum", FLOAT, [])],
    )
    with pytest.raises(ConfigError, match=r"output 'sum' is FP32 \[\] in the model and FP32 \[-1\] in the config"):
        network(tmp_path, total, [port("x", [2])], [port("sum", [1], reshape={"shape": []})])


def test_an_optional_input_may_be_left_out_where_the_model_has_a_default(tmp_path):
    shifted = graph(
        [helper.make_node("Add", ["x", "shift"], ["y"])],
        [("x", FLOAT, ["batch", 1]), ("shift", FLOAT, [1, 1])],
        [("y", FLOAT, ["batch", 1])],
        [("shift", np.full((1, 1), 5, np.float32))],
    )
    served = network(tmp_path, shifted, [port("x", [1])], [port("y", [1])])
    assert served.run_all([ones(2, 1)], [["y"]])[0]["y"].tolist() == [[6], [6]]


def test_an_input_that_the_config_leaves_out_is_named(tmp_path):
    with pytest.raises(ConfigError, match="the model also needs input 'x'"):
        network(tmp_path, tally(), [], [port("doubled", [-1])])


def test_a_configs_parameters_are_read_once_and_what_is_not_given_has_its_default():
    given = {"intra_op_thread_count": "3", "inter_op_thread_count": "2", "rows_at_once": "4"}
    parameters = {name: {"string_value": value} for name, value in given.items()}
    assert Settings.of({"parameters": parameters}, None) == Settings(None, 3, 2, 4)
    cores = len(os.sched_getaffinity(0))
    assert Settings.of({}, 1) == Settings(1, cores)
    assert Settings.of({"parameters": threads(0)}, None) == Settings(None, cores)
    assert Settings.of(OPENVINO, None) == Settings(None, cores, openvino={})


@pytest.mark.parametrize("value", ["", "many", "-1", "1.5"])
def test_a_parameter_that_is_no_number_is_named(value):
    with pytest.raises(ConfigError, match=f"parameter rows_at_once is '{value}'; it must be a whole number"):
        Settings.of({"parameters": {"rows_at_once": {"string_value": value}}}, None)


def test_an_unknown_parameter_or_accelerator_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown parameters threads; known: intra_op_thread_count, inter_op"):
        Settings.of({"parameters": {"threads": {"string_value": "1"}}}, None)
    accelerators = {"gpu_execution_accelerator": [{"name": "openvino"}]}
    with pytest.raises(ConfigError, match="no execution accelerator 'openvino'; only openvino, on CPUs"):
        Settings.of({"optimization": {"execution_accelerators": accelerators}}, 0)


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="KIND_GPU asks for GPU 0"):
        network(tmp_path, identity(FLOAT, ["batch", 1]), [port("x", [1])], [port("y", [1])], gpu=0)


def test_threads_share_the_rows_of_a_small_networks_batch(tmp_path):
    ports = [port("x", [-1])], [port("doubled", [-1]), port("company", [1], "TYPE_INT64", reshape={"shape": []})]
    two = network(tmp_path, tally(), *ports, parameters=threads(2))
    rows = {"x": np.arange(15, dtype=np.float32).reshape(5, 3)}
    (answer,) = two.run_all([rows], [["doubled", "company"]])
    assert answer["doubled"].tolist() == (2 * rows["x"]).tolist()
    assert answer["company"].tolist() == [2, 2, 3, 3, 3]
    (alone,) = two.run_all([ones(1, 3)], [["company"]])
    assert alone["company"].tolist() == [1]


def test_a_row_that_fails_in_a_thread_of_its_own_costs_the_others_nothing(tmp_path):
    ports = [port("index", [1], "TYPE_INT64")], [port("value", [1])]
    table = network(tmp_path, lookup(), *ports, parameters=threads(2))
    good, bad, also = table.run_all([{"index": np.array([[i]])} for i in (2, 99, 0)], [["value"]] * 3)
    assert isinstance(bad, InputError)
    assert good["value"].shape == also["value"].shape == (1, 1)


def test_openvino_runs_rows_of_any_shape_in_batches_that_it_has_compiled(tmp_path):
    ports = [port("x", [-1])], [port("doubled", [-1]), port("company", [1], "TYPE_INT64", reshape={"shape": []})]
    two = network(tmp_path, tally(), *ports, **OPENVINO, parameters=threads(2))
    for length in (3, 5, 4, 3):
        rows = {"x": np.arange(5 * length, dtype=np.float32).reshape(5, length)}
        (answer,) = two.run_all([rows], [["company", "doubled"]])
        assert answer["doubled"].tolist() == (2 * rows["x"]).tolist()
        assert answer["company"].tolist() == [2, 2, 2, 2, 1]
        (alone,) = two.run_all([ones(1, length)], [["company"]])
        assert alone["company"].tolist() == [1]


def test_openvino_without_threads_to_share_takes_any_shape(tmp_path):
    ports = [port("x", [-1])], [port("company", [1], "TYPE_INT64", reshape={"shape": []})]
    one = network(tmp_path, tally(), *ports, **OPENVINO)
    assert [one.run_all([ones(n, n + 1)], [["company"]])[0]["company"].tolist() for n in (1, 3)] == [[1], [3, 3, 3]]
