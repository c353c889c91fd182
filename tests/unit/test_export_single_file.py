"""Whole pipelines in one file: the same as in folders, or refused in one sentence."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from export import hub, inpaint, presets, single_file, skeleton
from export.__main__ import arguments, main, order
from export.errors import ExportError
from tests.exporting import empty_repository
from tests.single_file import original

UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "sd15"
    skeleton.write("sd15-inpainting", folder, miniature=True)
    return folder


@pytest.fixture
def one_file(pipeline, tmp_path):
    file = tmp_path / "community.safetensors"
    save_file(original(pipeline), file)
    return file


def configuration(pipeline, folder):
    """What `pipeline` has beside its weights."""
    left = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(pipeline, folder, ignore=left, dirs_exist_ok=True))


def test_a_pipeline_in_one_file_is_the_same_in_folders(pipeline, one_file, tmp_path):
    folder = single_file.convert(one_file, configuration(pipeline, tmp_path / "layout"), tmp_path / "inpaint")
    for name in (UNET, "vae/diffusion_pytorch_model.safetensors", TEXT):
        found, wanted = load_file(folder / name), load_file(pipeline / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert inpaint.write_assets(folder, tmp_path, presets.PRESETS["demo"].settings["inpaint"])["sampler"] == "pndm"


@pytest.mark.parametrize("preset", ["sd2-inpainting", "sdxl-inpainting"])
def test_later_families_in_one_file_are_the_same_in_folders(tmp_path, preset):
    source = tmp_path / "source"
    skeleton.write(preset, source, miniature=True)
    if preset == "sdxl-inpainting":  # diffusers tells its two text encoders apart by their widths
        config = CLIPTextConfig(**{**skeleton.SMALL_TEXT, "hidden_size": 32})
        CLIPTextModel(config).half().save_pretrained(source / "text_encoder")
    save_file(original(source), tmp_path / "community.safetensors")
    folder = single_file.convert(tmp_path / "community.safetensors", source, tmp_path / "inpaint")
    for file in source.rglob("*.safetensors"):
        found, wanted = load_file(folder / file.relative_to(source)), load_file(file)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_file_in_float32_keeps_its_precision(pipeline, tmp_path):
    tensors = {name: tensor.float() + 1e-5 for name, tensor in original(pipeline).items()}
    save_file(tensors, tmp_path / "full.safetensors")
    folder = single_file.convert(tmp_path / "full.safetensors", pipeline, tmp_path / "inpaint")
    assert torch.equal(load_file(folder / UNET)["conv_in.bias"], tensors["model.diffusion_model.input_blocks.0.0.bias"])


def test_the_same_file_is_laid_out_the_same_again(pipeline, one_file, tmp_path):
    first, second = (single_file.convert(one_file, pipeline, tmp_path / name) for name in ("one", "two"))
    files = [file.relative_to(first) for file in first.rglob("*") if file.is_file()]
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_weights_of_the_layout_do_not_stand_in_for_the_files(pipeline, tmp_path):
    tensors = original(pipeline)
    del tensors["cond_stage_model.transformer.text_model.final_layer_norm.weight"]
    save_file(tensors, tmp_path / "lacking.safetensors")
    with pytest.raises(ExportError, match=r"lacking\.safetensors does not fit .*\(it lacks some of the weights"):
        single_file.convert(tmp_path / "lacking.safetensors", pipeline, tmp_path / "inpaint")


def of_four_channels(tensors):
    tensors[single_file.FIRST] = tensors[single_file.FIRST][:, :4].contiguous()


def part_missing(prefix):
    def edit(tensors):
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (of_four_channels, "takes 4 channels, and inpainting needs 9: give an inpainting checkpoint"),
        (part_missing("first_stage_model"), "holds no whole pipeline, it lacks a VAE"),
        (part_missing("cond_stage_model"), "holds no whole pipeline, it lacks a text encoder"),
        (part_missing("model.diffusion"), "holds no whole pipeline, it lacks a UNet"),
    ],
)
def test_an_unfit_file_is_refused_in_one_sentence(pipeline, tmp_path, edit, sentence):
    tensors = original(pipeline)
    edit(tensors)
    save_file(tensors, tmp_path / "unfit.safetensors")
    with pytest.raises(ExportError, match=sentence):
        single_file.convert(tmp_path / "unfit.safetensors", pipeline, tmp_path / "inpaint")


def command(capsys, tmp_path, file, *words):
    """The exit code and what `python -m export` says of the checkpoint `file`, in a repository of its own."""
    repository = empty_repository(tmp_path / "model_repository")
    code = main([*words, "--repository", str(repository), "--checkpoint", str(file)])
    assert list(repository.glob("inpaint/[0-9]*")) == []
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("x.ckpt", ["--preset", "sd15-inpainting"], "x.ckpt is no safetensors file, and only those are read: convert"),
        ("x.safetensors", ["--preset", "sd15-inpainting"], "x.safetensors is damaged or cut short"),
        ("x.safetensors", ["--preset", "demo", "--only", "mask"], "mask takes a folder: give the one that holds"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_in_one_sentence(tmp_path, capsys, name, words, sentence):
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    code, answer = command(capsys, tmp_path, tmp_path / name, *words)
    assert (code, answer.count("\n")) == (1, 1)
    assert re.search(sentence, answer)


def test_a_folder_with_such_a_file_alone_says_how_to_give_it(one_file, tmp_path, capsys):
    code, answer = command(capsys, tmp_path, one_file.parent, "--preset", "sd15-inpainting")
    assert (code, answer.count("\n")) == (1, 1)
    assert answer.endswith(f"say --checkpoint {one_file}\n")


def test_without_a_configuration_the_command_that_fetches_it_is_said(one_file, tmp_path, capsys, monkeypatch):
    def snapshot_download(repository, **wanted):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    code, answer = command(capsys, tmp_path, one_file, "--preset", "sd15-inpainting")
    assert (code, answer.count("\n")) == (1, 1)
    assert re.search(r"lay the file beside the model_index.json .* hf download genai-archive/\S+ --revision", answer)


@pytest.mark.parametrize("beside", [True, False], ids=["beside the file", "from the hub"])
def test_the_configuration_is_the_folders_or_the_presets(pipeline, one_file, tmp_path, monkeypatch, beside):
    """As far as the order: an export of it takes half a minute, and is like any other."""
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(configuration(pipeline, tmp_path / "hub")))
    if beside:
        configuration(pipeline, one_file.parent)
        monkeypatch.delattr(hub, "snapshot_download")
    options = arguments().parse_args(["--preset", "sd15-inpainting", "--checkpoint", str(one_file)])
    (tmp_path / "scratch").mkdir()
    made = order(options, presets.PRESETS["sd15-inpainting"], "inpaint", tmp_path / "scratch")
    assert made.source.checkpoint == "a single file"
    assert made.checkpoint == tmp_path / "scratch" / "inpaint"
    assert load_file(made.checkpoint / UNET).keys() == load_file(pipeline / UNET).keys()


@pytest.mark.slow
def test_a_pipeline_in_one_file_becomes_a_release_and_the_same_one_again(pipeline, one_file, tmp_path, capsys):
    configuration(pipeline, one_file.parent)
    repository = empty_repository(tmp_path / "model_repository")
    words = ["--preset", "sd15-inpainting", "--repository", str(repository), "--checkpoint", str(one_file)]
    assert main(words) == 0
    assert (repository / "unet" / "1" / "model.onnx").exists()
    assert main(words) == 0
    assert "release 1 is up to date" in capsys.readouterr().out
