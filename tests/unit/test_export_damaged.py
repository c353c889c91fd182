"""Damaged checkpoints: one sentence that names the file, and nothing is released."""

import json
import re
import shutil
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from export import inpaint, mask, parse, presets
from export.__main__ import main
from export.errors import ExportError
from tests.checkpoints import PARTS, save_again
from tests.exporting import empty_repository

STEPS = {"inpaint": inpaint, "mask": mask, "parse": parse}


def settings(step):
    return presets.PRESETS["demo"].settings[step]


def copied(folder, destination):
    return Path(shutil.copytree(folder, destination))


UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


def cut(name, share=0.5):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def overwritten(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without(name):
    return lambda folder: (folder / name).unlink()


def without_tensor(name):
    def damage(folder):
        tensors = load_file(folder / name)
        del tensors[sorted(tensors)[0]]
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return damage


def without_key(name, key):
    def damage(folder):
        content = json.loads((folder / name).read_text())
        del content[key]
        (folder / name).write_text(json.dumps(content))

    return damage


def of_other_sizes(folder):
    content = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**content, "cross_attention_dim": 64}))


def sharded(damage, part="unet", kind=UNet2DConditionModel):
    def both(folder):
        save_again(kind, folder / part, shards=3)
        damage(folder)

    return both


def read_all(folder, destination):
    """As an export reads an inpaint checkpoint."""
    inpaint.write_assets(folder, destination, settings("inpaint"))
    for load in inpaint.networks(folder).values():
        load(folder)


def edited_index(edit):
    def damage(folder):
        file = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
        content = json.loads(file.read_text())
        edit(content["weight_map"])
        file.write_text(json.dumps(content))

    return sharded(damage)


def naming(file):
    return edited_index(lambda where: where.update({sorted(where)[0]: file}))


def swapped(where):
    one, other = sorted(where)[0], next(name for name in sorted(where) if where[name] != where[sorted(where)[0]])
    where[one] = where[other]


SHARD = "diffusion_pytorch_model-00002-of-0000"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
POINTER = b"version https://git-lfs.invalid/spec/v1\noid sha256:00\nsize 1\n"
DAMAGES = {
    "cut in the middle": (cut(UNET), rf"{UNET} is damaged or cut short \(.*\): fetch it again"),
    "cut in the header": (cut(UNET, 0.001), rf"{UNET} is damaged or cut short"),
    "empty": (overwritten(UNET, b""), rf"{UNET} is damaged or cut short"),
    "wrong header": (overwritten(UNET, b"\xff" * 4096), rf"{UNET} is damaged or cut short"),
    "a page of the web": (overwritten(TEXT, b"<html>" * 99), rf"{TEXT} is damaged or cut short"),
    "a pointer": (overwritten(TEXT, POINTER), rf"{TEXT} is a Git LFS pointer, not the weights: run git lfs pull"),
    "one weight missing": (without_tensor(UNET), rf"{UNET} lacks 1 of the weights of UNet2DConditionModel, such as"),
    "of CLIP too": (without_tensor(TEXT), rf"{TEXT} lacks 1 of the weights of CLIPTextModel, such as"),
    "another size": (of_other_sizes, "config.json and its weights do not fit each other"),
    "no config.json": (without("text_encoder/config.json"), "it has no text_encoder/config.json"),
    "no config.json of the VAE": (without("vae/config.json"), "it has no vae/config.json"),
    "config.json cut": (cut("unet/config.json"), r"unet/config.json is damaged, it .*: fetch it again"),
    "config.json no text": (overwritten("vae/config.json", b"\xff\xfe"), "vae/config.json is damaged"),
    "config.json a list": (overwritten("vae/config.json", b"[]"), "vae/config.json is damaged, it holds no JSON obj"),
    "a key missing": (without_key("unet/config.json", "in_channels"), "unet/config.json has no in_channels: fetch"),
    "tokenizer cut": (cut("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is damaged"),
    "tokenizer of nothing": (overwritten("tokenizer/tokenizer.json", b"{}"), "the tokenizer in .* cannot be read"),
    "a shard missing": (
        sharded(lambda folder: next((folder / "unet").glob(f"{SHARD}*")).unlink()),
        rf"unet/{SHARD}.\.safetensors is missing, which {INDEX} names: fetch it, too",
    ),
    "a shard cut": (
        sharded(lambda folder: cut(f"unet/{next((folder / 'unet').glob(f'{SHARD}*')).name}")(folder)),
        rf"unet/{SHARD}.\.safetensors is damaged or cut short",
    ),
    "an index of other files": (naming("other.safetensors"), f"other.safetensors is missing, which {INDEX} names"),
    "an index that points out": (naming("../x.safetensors"), r"names \.\./x.safetensors, which is not in its own"),
    "an index that is wrong": (edited_index(swapped), rf"lacks .*, which {INDEX} says is there: fetch both again"),
    "an index of nothing": (edited_index(dict.clear), f"{INDEX} is damaged, its weight_map is no table of files"),
    "an index cut": (sharded(cut(f"unet/{INDEX}")), f"{INDEX} is damaged, it"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_sentence_that_names_the_file(tiny_checkpoints, tmp_path, capsys, name):
    damage, sentence = DAMAGES[name]
    folder = copied(tiny_checkpoints / "inpaint", tmp_path / "checkpoint")
    damage(folder)
    with pytest.raises(ExportError, match=sentence) as refusal:
        read_all(folder, tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("step", ["mask", "parse"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_cut_file_of_a_transformers_folder_is_named(tiny_checkpoints, tmp_path, step, name):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    cut(name, 0.4)(folder)
    with pytest.raises(ExportError, match=rf"{folder / name} is damaged"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("step", ["mask", "parse"])
def test_a_missing_shard_of_a_transformers_folder_is_named(tiny_checkpoints, tmp_path, step):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    save_again(PARTS[step], folder, shards=3)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ExportError, match=f"{shard} is missing, which model.safetensors.index.json names"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
@pytest.mark.parametrize(
    ("step", "part"), [("inpaint", "vae"), ("inpaint", "text_encoder"), ("mask", ""), ("parse", "")]
)
def test_pickles_alone_are_refused_with_what_to_do(tiny_checkpoints, tmp_path, step, part, suffix):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    for file in (folder / part).glob("*.safetensors"):
        file.rename(file.with_suffix(suffix))
    with pytest.raises(ExportError, match=r"has only pickled weights .*: convert them to safetensors"):
        STEPS[step].write_assets(folder, tmp_path, settings(step))


@pytest.mark.parametrize("step", STEPS)
def test_a_damaged_checkpoint_releases_nothing_and_the_command_says_so_in_a_line(
    tiny_checkpoints, tmp_path, capsys, step
):
    folder = copied(tiny_checkpoints / step, tmp_path / "checkpoint")
    cut(max(folder.rglob("*.safetensors")).relative_to(folder))(folder)
    repository = empty_repository(tmp_path / "model_repository")
    before = sorted(repository.rglob("*"))
    command = ["--preset", "demo", "--only", step, "--repository", str(repository), "--checkpoint", str(folder)]
    assert main(command) == 1
    answer = capsys.readouterr().err
    assert re.fullmatch(r"export: .* is damaged or cut short \(.*\): fetch it again\n", answer)
    assert [file for file in sorted(repository.rglob("*")) if file not in before and file.name != ".lock"] == []
