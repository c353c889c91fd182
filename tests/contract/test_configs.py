"""The hand-written configs: they parse, fit together from end to end, and fit the exported networks."""

from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from tests.contract.required_inputs import may_be_left_out

REPOSITORY = Path(__file__).parents[2] / "model_repository"
CONFIGS = {
    path.parent.name: text_format.Parse(path.read_text(), ModelConfig())
    for path in sorted(REPOSITORY.glob("*/config.pbtxt"))
}
NETWORKS = [name for name, config in CONFIGS.items() if config.backend == "onnxruntime"]
VARIANTS = sorted(REPOSITORY.glob("*/configs/*.pbtxt"))
PROGRAMS = [name for name, config in CONFIGS.items() if config.backend == "python"]
STEPS = [name for name in PROGRAMS if name != "replace_stream"]
EXPORTS = sorted(path for name in NETWORKS for path in REPOSITORY.glob(f"{name}/[0-9]*/model.onnx"))
TYPES = {"TYPE_FP32": onnx.TensorProto.FLOAT, "TYPE_INT64": onnx.TensorProto.INT64}

# design.md, "Contract of `replace`": name -> (type, dims, optional).
REPLACE_INPUTS = {
    "image": ("TYPE_STRING", [1], False),
    "prompt": ("TYPE_STRING", [1], False),
    "seed": ("TYPE_INT64", [1], True),
    "num_inference_steps": ("TYPE_INT32", [1], True),
    "guidance_scale": ("TYPE_FP32", [1], True),
    "strength": ("TYPE_FP32", [1], True),
    "negative_prompt": ("TYPE_STRING", [1], True),
    "num_images": ("TYPE_INT32", [1], True),
    "max_attempts": ("TYPE_INT32", [1], True),
}
REPLACE_OUTPUTS = {
    "edited_image": ("TYPE_STRING", [-1]),
    "mask_image": ("TYPE_STRING", [1]),
    "intent": ("TYPE_STRING", [1]),
    "target": ("TYPE_STRING", [1]),
    "replacement": ("TYPE_STRING", [1]),
    "parse_score": ("TYPE_FP32", [1]),
    "mask_score": ("TYPE_FP32", [1]),
    "edit_score": ("TYPE_FP32", [1]),
    "used_seed": ("TYPE_INT64", [-1]),
    "report": ("TYPE_STRING", [1]),
}


def kind(port):
    return DataType.Name(port.data_type), list(port.dims)


def by_name(ports):
    return {port.name: port for port in ports}


def test_the_repository_holds_the_chain_and_its_networks():
    assert set(STEPS) == {"admit", "parse", "mask", "inpaint"}
    assert set(NETWORKS) == {"text_encoder", "vae_encoder", "unet", "vae_decoder", "segmenter"}
    assert set(CONFIGS) - set(STEPS) - set(NETWORKS) == {"replace", "replace_stream"}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_leaves_nothing_to_be_guessed(name):
    config = CONFIGS[name]
    assert config.name in ("", name)
    assert config.max_batch_size >= 1
    assert all(port.dims for port in [*config.input, *config.output])
    if name != "replace":
        assert config.instance_group


@pytest.mark.parametrize("name", sorted({*NETWORKS, *STEPS, "replace_stream"} - {"admit"}))
def test_a_released_model_keeps_the_release_before_loaded(name):
    assert CONFIGS[name].version_policy.latest.num_versions == 2


@pytest.mark.parametrize("path", VARIANTS, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_a_variant_differs_only_in_where_the_network_runs(path):
    configs = [text_format.Parse(path.read_text(), ModelConfig()), ModelConfig()]
    configs[1].CopyFrom(CONFIGS[path.parts[-3]])
    assert configs[0] != configs[1]
    for config in configs:
        for part in ("instance_group", "parameters", "optimization"):
            config.ClearField(part)
    assert configs[0] == configs[1]


def test_each_variant_covers_every_network():
    names = {path.stem for path in VARIANTS}
    assert names == {"cuda", "openvino"}
    assert {(path.parts[-3], path.stem) for path in VARIANTS} == {(name, stem) for name in NETWORKS for stem in names}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_step_has_its_program(name):
    assert (REPOSITORY / name / "model.py").is_file() or (REPOSITORY / name / "1" / "model.py").is_file()


@pytest.mark.parametrize("name", [*STEPS, *NETWORKS])
def test_a_queue_has_an_end_and_honours_the_callers_deadline(name):
    policy = CONFIGS[name].dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.allow_timeout_override
    assert policy.default_timeout_microseconds > 0  # or Triton 24.10 never looks at the caller's
    assert policy.timeout_action == policy.REJECT


def test_whoever_is_let_in_finds_room_in_the_queue():
    inpaint, places = CONFIGS["inpaint"], CONFIGS["admit"].parameters
    (instances,) = inpaint.instance_group
    room = instances.count + inpaint.dynamic_batching.default_queue_policy.max_queue_size
    assert int(places["least"].string_value) == instances.count
    assert int(places["all"].string_value) == room


def test_nothing_of_an_edit_is_computed_before_it_is_let_in():
    first, *others = CONFIGS["replace"].ensemble_scheduling.step
    assert first.model_name == "admit"
    known = set()
    for step in others:  # every other step waits for it, or for one that does
        assert {*first.output_map.values(), *known} & set(step.input_map.values()), step.model_name
        known |= set(step.output_map.values())


def test_replace_is_what_the_design_promises():
    config = CONFIGS["replace"]
    assert {port.name: (*kind(port), may_be_left_out("replace", port)) for port in config.input} == REPLACE_INPUTS
    assert {port.name: kind(port) for port in config.output} == REPLACE_OUTPUTS


def test_replace_stream_is_replace_with_progress():
    config = CONFIGS["replace_stream"]
    assert config.model_transaction_policy.decoupled
    assert {port.name: (*kind(port), may_be_left_out("replace_stream", port)) for port in config.input} == {
        **REPLACE_INPUTS,
        "preview_side": ("TYPE_INT32", [1], True),
    }
    assert {port.name: kind(port) for port in config.output} == {
        **REPLACE_OUTPUTS,
        "stage": ("TYPE_STRING", [1]),
        "step": ("TYPE_INT32", [1]),
        "steps": ("TYPE_INT32", [1]),
        "preview": ("TYPE_STRING", [1]),
    }


def test_the_steps_of_the_ensemble_agree_on_every_tensor():
    config = CONFIGS["replace"]
    tensors: dict = by_name(config.input)
    may_be_absent = {port.name for port in config.input if port.optional}
    for step in config.ensemble_scheduling.step:
        composing = CONFIGS[step.model_name]
        inputs, outputs = by_name(composing.input), by_name(composing.output)
        assert step.model_version == -1
        assert composing.max_batch_size >= config.max_batch_size
        for inner, outer in step.input_map.items():
            assert kind(inputs[inner]) == kind(tensors[outer]), (step.model_name, inner)
            if outer in may_be_absent and step.model_name != "admit":  # where Triton names the prompt that is missing
                assert inputs[inner].optional, f"{step.model_name} needs {inner}, which a caller may leave out"
        needed = {name for name, port in inputs.items() if not port.optional}
        assert needed <= set(step.input_map), step.model_name
        for inner, outer in step.output_map.items():
            assert outer not in tensors, f"{outer} has two sources"
            tensors[outer] = outputs[inner]
    for port in config.output:
        assert kind(port) == kind(tensors[port.name]), port.name


@pytest.mark.parametrize("name", [*STEPS, "replace_stream"])
def test_triton_requires_one_input_and_the_step_the_others(name):
    """With two, one that is absent beside an optional one that is given would not be noticed."""
    assert len([port for port in CONFIGS[name].input if not port.optional]) == 1


def test_no_input_that_is_absent_keeps_the_ensemble_waiting():
    assert all(port.optional for port in CONFIGS["replace"].input)


def test_every_input_a_step_can_take_is_given_to_it():
    steps = {step.model_name: step for step in CONFIGS["replace"].ensemble_scheduling.step}
    assert set(steps) == set(STEPS)
    for name, step in steps.items():
        assert set(step.input_map) == set(by_name(CONFIGS[name].input)), name


@pytest.mark.skipif(not EXPORTS, reason="nothing exported yet: make export")
@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_an_exported_network_matches_its_config(path):
    config = CONFIGS[path.parts[-3]]
    graph = onnx.load(path, load_external_data=False).graph
    for ports, nodes in ((config.input, graph.input), (config.output, graph.output)):
        assert set(by_name(ports)) == set(by_name(nodes))
        for port in ports:
            tensor = by_name(nodes)[port.name].type.tensor_type
            shape = [size.dim_value or -1 for size in tensor.shape.dim]
            dims = list(port.reshape.shape if port.HasField("reshape") else port.dims)
            assert tensor.elem_type == TYPES[DataType.Name(port.data_type)], port.name
            assert shape[0] == -1, f"{port.name} has a fixed batch axis"
            assert len(shape) == 1 + len(dims), port.name
            pairs = zip(shape[1:], dims, strict=True)
            assert all(own == given or -1 in (own, given) for own, given in pairs), (port.name, shape, dims)
