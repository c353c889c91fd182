"""Exports: whole releases or none, assets from the checkpoint, and one sentence for each refusal."""

import dataclasses
import json
import re
import shutil
from types import SimpleNamespace

import onnx
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from export import convert, inpaint, parity, presets, resources
from export.__main__ import arguments, main, run
from export.errors import ExportError
from export.network import Network
from export.release import Target, exclusive
from serving.intents import MAX_PROMPT_CHARS
from serving.releases.manifest import import_line
from serving.releases.repository import Release
from serving.topology import STEPS
from tests.exporting import empty_repository, export


def versions(repository):
    folders = (path for path in repository.glob("*/*") if path.is_dir() and path.name != "configs")
    return sorted(path.relative_to(repository).as_posix() for path in folders)


def read(repository, step):
    return json.loads((repository / step / "1" / f"{step}.json").read_text())


@pytest.fixture
def repository(tmp_path):
    return empty_repository(tmp_path / "model_repository")


@pytest.fixture
def parse_checkpoint(tiny_checkpoints, tmp_path):
    """The quickest step to export, for tests of releases as such."""
    return shutil.copytree(tiny_checkpoints / "parse", tmp_path / "checkpoint")


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 16)

    def forward(self, x):
        return self.layer(x)


def test_killed_export_leaves_no_half_release_and_the_next_one_succeeds(exported):
    left = [path for path in exported.left_by_the_kill if re.fullmatch(r"\d+", "".join(path.parts[1:2]))]
    assert left == []
    staged = [path for path in exported.left_by_the_kill if path.parts[1:2] == (".1.staged",)]
    assert staged, "killed too early to prove much"
    models = [model for step in STEPS for model in Release(exported.repository, step, 1).models]
    assert versions(exported.repository) == sorted(f"{model}/1" for model in models)


def test_release_holds_what_each_step_reads(exported):
    assert read(exported.repository, "inpaint") == {
        "scaling_factor": 0.9,
        "size": 128,
        "vae_factor": 8,
        "latent_channels": 4,
        "context_length": 16,
        "tokenizers": [{"file": "tokenizer.json", "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}],
        "sampler": "ddim",
        "num_inference_steps": 12,
        "guidance_scale": 4.0,
    }
    mask = read(exported.repository, "mask")
    assert (mask["size"], mask["image_mean"], mask["image_std"]) == (256, [0.5, 0.4, 0.3], [0.25, 0.25, 0.2])
    assert read(exported.repository, "parse")["quantisation"] == "nf4"
    for step in STEPS:
        assert (exported.repository / step / "1" / "model.py").read_bytes() == import_line(step)


def test_an_entry_point_has_the_files_of_its_step_and_its_own_program(exported):
    step, entry_point = (exported.repository / model / "1" for model in ("inpaint", "replace_stream"))
    files = {file.name for file in entry_point.iterdir()}
    assert files == {file.name for file in step.iterdir()} - {"release.json"}
    for name in files - {"model.py"}:
        assert (entry_point / name).read_bytes() == (step / name).read_bytes()
    assert (entry_point / "model.py").read_bytes() == import_line("replace_stream")


@pytest.mark.parametrize(("step", "folder"), [("inpaint", "inpaint/tokenizer"), ("mask", "mask")])
def test_tokenizer_file_equals_the_checkpoints_tokenizer(exported, step, folder):
    ours = Tokenizer.from_file(str(exported.repository / step / "1" / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(exported.checkpoints / folder)
    for text in ("a red car", "An  UMBRELLA!", ""):
        assert ours.encode(text).ids == theirs(text).input_ids


def test_second_export_is_up_to_date(exported, capsys):
    export(exported.repository, exported.checkpoints)
    assert capsys.readouterr().out.count("release 1 is up to date") == 3


def test_existing_release_of_other_weights_names_the_next_free_number(repository, parse_checkpoint):
    export(repository, parse_checkpoint, "--only", "parse")
    (parse_checkpoint / "recast.json").write_text('{"max_prompt_chars": 10}')
    with pytest.raises(ExportError, match="add --release 2"):
        export(repository, parse_checkpoint, "--only", "parse")
    assert read(repository, "parse")["max_prompt_chars"] == MAX_PROMPT_CHARS
    export(repository, parse_checkpoint, "--only", "parse", "--release", "2")
    assert versions(repository)[:2] == ["parse/1", "parse/2"]


def test_retrained_demo_weights_replace_release_1(repository, parse_checkpoint, monkeypatch, capsys):
    demo = dataclasses.replace(presets.PRESETS["demo"], checkpoints={"parse": parse_checkpoint})
    monkeypatch.setitem(presets.PRESETS, "demo", demo)
    options = arguments().parse_args(["--preset", "demo", "--only", "parse", "--repository", str(repository)])
    run(options)
    (parse_checkpoint / "recast.json").write_text('{"max_prompt_chars": 10}')
    run(options)
    assert read(repository, "parse")["max_prompt_chars"] == 10
    with (repository / "parse" / "model.py").open("a") as model_py:
        model_py.write("# edited\n")
    run(options)
    assert "has the new model.py" in capsys.readouterr().out
    assert (repository / "parse" / "1" / "model.py").read_text().endswith("# edited\n")
    assert Release(repository, "parse", 1).verify()
    assert versions(repository) == ["parse/1"]


def linear() -> Network:
    return Network(
        name="linear",
        module=Linear(),
        inputs={"x": ("batch", "width")},
        outputs={"y": ("batch", 16)},
        sizes=({"batch": 2, "width": 64}, {"batch": 1, "width": 64}),
        constant=frozenset({"width"}),
    )


def test_wrong_onnx_weights_fail_the_comparison(tmp_path):
    network = linear()
    file, wanted = tmp_path / "model.onnx", parity.reference(network)
    convert.write(network, file)
    assert parity.compare(network, file, wanted) <= 1e-6
    data = bytearray((tmp_path / "model.onnx.data").read_bytes())
    data[:4] = b"\x00\x00\x80\x3f"  # one weight becomes 1.0
    (tmp_path / "model.onnx.data").write_bytes(data)
    with pytest.raises(ExportError, match="linear in ONNX is off by"):
        parity.compare(network, file, wanted)


def test_failed_comparison_releases_nothing(repository, tiny_checkpoints, monkeypatch):
    def write_wrongly(network, file):
        right(network, file)
        model = onnx.load(file)
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        weights.raw_data = b"\x00" * len(weights.raw_data)
        onnx.save(model, file)

    right = convert.write
    monkeypatch.setattr(convert, "write", write_wrongly)
    with pytest.raises(ExportError, match="text_encoder in ONNX is off by"):
        export(repository, tiny_checkpoints, "--only", "inpaint")
    assert versions(repository) == []


def without_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def with_four_channels(folder):
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 9', '"in_channels": 4'))


def with_image_conditions(folder):
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace('"addition_embed_type": null', '"addition_embed_type": "image"'))


def with_unknown_scheduler(folder):
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("DDIMScheduler", "HeunDiscreteScheduler"))


def with_thresholding(folder):
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"thresholding": false', '"thresholding": true'))


def with_unknown_setting(folder):
    (folder / "recast.json").write_text('{"guidance": 3}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_weights, r"only pickled weights \(.bin\): convert them to safetensors"),
        (with_four_channels, "takes 4 channels, and inpainting needs 9"),
        (with_image_conditions, r"wants further inputs \(addition_embed_type = 'image'\), which is not supported"),
        (with_unknown_scheduler, "the scheduler HeunDiscreteScheduler is not supported"),
        (with_thresholding, "thresholding = True is not supported"),
        (with_unknown_setting, "unknown setting 'guidance'"),
        (shutil.rmtree, "there is no checkpoint folder"),
    ],
)
def test_unfit_checkpoint_is_refused_in_one_sentence(repository, tiny_checkpoints, tmp_path, damage, sentence, capsys):
    checkpoint = shutil.copytree(tiny_checkpoints / "inpaint", tmp_path / "checkpoint")
    damage(checkpoint)
    command = ["--preset", "demo", "--only", "inpaint", "--repository", str(repository)]
    assert main([*command, "--checkpoint", str(checkpoint)]) == 1
    answer = capsys.readouterr().err
    assert re.search(sentence, answer)
    assert answer.count("\n") == 1
    assert versions(repository) == []


def test_second_export_at_the_same_time_is_refused(repository, parse_checkpoint):
    with exclusive(repository, []), pytest.raises(ExportError, match="another deployment or export is at work"):
        export(repository, parse_checkpoint, "--only", "parse")


def test_leftovers_of_an_interrupted_replacement_are_swept(repository, parse_checkpoint):
    target = Target(Release(repository, "parse", 1))
    target.staged("parse").mkdir()
    target.retired("parse").mkdir()
    export(repository, parse_checkpoint, "--only", "parse")
    assert versions(repository) == ["parse/1"]


def test_folder_without_a_model_repository_is_refused(tmp_path, parse_checkpoint):
    with pytest.raises(ExportError, match="no Recast model repository"):
        export(tmp_path, parse_checkpoint, "--only", "parse")


def test_list_names_every_preset_with_its_terms(capsys):
    assert main(["--list"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == list(presets.HEADINGS)
    assert {line.split()[0] for line in lines} == set(presets.PRESETS)
    assert all("GB" in line for line in lines)
    qwq = next(line for line in lines if line.startswith("qwq"))
    assert "Qwen/QwQ-32B-Preview" in qwq
    assert "Apache-2.0" in qwq


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name what to export with --preset"),
        (["--preset", "demo", "sd15-inpainting"], "two presets cover the step inpaint"),
        (["--preset", "sd15-inpainting", "--only", "mask"], "has nothing for the step mask"),
        (["--preset", "demo", "--set", "threshold=0.3"], "name it with --only"),
        (["--preset", "demo", "--only", "mask", "--set", "treshold=0.3"], "unknown setting 'treshold'"),
        (["--preset", "sd15-inpainting"], r"is not in the local cache and HF_HUB_OFFLINE is set: give its folder"),
        (["--preset", "sd15-inpainting", "--checkpoint", "no/such"], "no/such is not in the local cache"),
        (["--preset", "sd15-inpainting", "--checkpoint", "no/such/folder"], "no checkpoint folder no/such/folder"),
    ],
)
def test_unclear_order_is_refused_in_one_sentence(repository, words, sentence, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main([*words, "--repository", str(repository)]) == 1
    answer = capsys.readouterr().err
    assert re.search(sentence, answer)
    assert answer.count("\n") == 1
    assert versions(repository) == []


def test_settings_of_the_command_go_into_the_release(repository, parse_checkpoint):
    export(repository, parse_checkpoint, "--only", "parse", "--set", "max_prompt_chars=77")
    assert read(repository, "parse")["max_prompt_chars"] == 77
    export(repository, parse_checkpoint, "--only", "parse", "--set", "max_prompt_chars=77")
    with pytest.raises(ExportError, match="add --release 2"):
        export(repository, parse_checkpoint, "--only", "parse", "--set", "max_prompt_chars=78")


def test_another_scheduler_can_be_ordered(tiny_checkpoints, tmp_path):
    defaults = presets.PRESETS["demo"].settings["inpaint"]
    chosen = {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}
    assets = inpaint.write_assets(tiny_checkpoints / "inpaint", tmp_path, {**defaults, "scheduler": chosen})
    assert assets["sampler"] == "dpm++2m"
    written = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert (written["use_karras_sigmas"], written["prediction_type"]) == (True, "v_prediction")


def test_a_setting_of_a_wrong_type_is_not_written(tiny_checkpoints, tmp_path):
    defaults = presets.PRESETS["demo"].settings["inpaint"]
    with pytest.raises(ExportError, match="guidance_scale is 'high'"):
        inpaint.write_assets(tiny_checkpoints / "inpaint", tmp_path, {**defaults, "guidance_scale": "high"})


@pytest.mark.parametrize(
    ("free", "sentence"),
    [
        ("disk", "takes about .* GB and .* has 0.0 GB free: make room"),
        ("memory", "GB of memory and 0.0 GB are free: end what else runs"),
    ],
)
def test_too_little_room_is_said_before_the_work(repository, tiny_checkpoints, monkeypatch, free, sentence):
    if free == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    else:
        monkeypatch.setattr(resources, "free_bytes", lambda _: 0)
    with pytest.raises(ExportError, match=sentence):
        export(repository, tiny_checkpoints, "--only", "inpaint")
    assert versions(repository) == []


def test_lowered_network_takes_and_gives_float32(tmp_path):
    network = linear()
    file, wanted = tmp_path / "model.onnx", parity.reference(network)
    network = network.lowered("fp16")
    convert.write(network, file)
    graph = onnx.load(file, load_external_data=False).graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert all(tensor.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for tensor in (*graph.input, *graph.output))
    assert 1e-6 < parity.compare(network, file, wanted) < network.tolerance


def test_network_that_overflows_in_fp16_stays_in_fp32():
    network = dataclasses.replace(linear(), overflows=True)
    assert network.lowered("fp16").precision == "fp32"


def test_the_distilled_demo_is_a_whole_checkpoint_with_the_demos_other_parts(tmp_path):
    preset, demo = presets.PRESETS["demo-lcm"], presets.PRESETS["demo"]
    checkpoint = preset.checkpoints["inpaint"]
    settings = inpaint.write_assets(checkpoint, tmp_path, preset.settings["inpaint"])
    assert (settings["sampler"], settings["num_inference_steps"], settings["guidance_scale"]) == ("lcm", 4, 1.0)
    theirs = demo.checkpoints["inpaint"]
    for part in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (checkpoint / part).read_bytes() == (theirs / part).read_bytes()
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert (checkpoint / unet).read_bytes() != (theirs / unet).read_bytes()
