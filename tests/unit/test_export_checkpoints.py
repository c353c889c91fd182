"""Checkpoints as they are found: in shards, as fp16 variants alone, or both."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub.errors import DryRunError
from transformers import AutoModelForCausalLM, CLIPTextModel, CLIPTextModelWithProjection

from export import hub, inpaint, mask, parse, presets, sdxl, segmenter, skeleton, text_encoder, unet, vae
from export.weights import readable, unread
from tests.checkpoints import PARTS, save_again

STEPS = {"inpaint": inpaint, "mask": mask}
XL_PARTS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
NETWORKS = {
    "unet": lambda folder: unet.load(folder / "inpaint"),
    "vae_encoder": lambda folder: vae.load_encoder(folder / "inpaint"),
    "vae_decoder": lambda folder: vae.load_decoder(folder / "inpaint"),
    "text_encoder": lambda folder: text_encoder.load(folder / "inpaint"),
    "segmenter": lambda folder: segmenter.load(folder / "mask", 256),
}


def copied(folder, destination):
    return Path(shutil.copytree(folder, destination))


@pytest.fixture(scope="module", params=[(None, 3), ("fp16", 1), ("fp16", 3)], ids=["shards", "fp16", "fp16-shards"])
def laid_out(request, tiny_checkpoints, tmp_path_factory):
    """The tiny checkpoints, every network's weights in shards, as the fp16 variant alone, or both."""
    variant, shards = request.param
    folder = copied(tiny_checkpoints, tmp_path_factory.mktemp("checkpoints") / "tiny")
    for part, kind in PARTS.items():
        save_again(kind, folder / part, variant=variant, shards=shards)
    plain = [file for file in folder.rglob("*.safetensors") if file.stem in ("model", "diffusion_pytorch_model")]
    assert not plain
    return folder


def settings(step):
    return presets.PRESETS["demo"].settings[step]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, name):
    found, wanted = (NETWORKS[name](folder).module.state_dict() for folder in (laid_out, tiny_checkpoints))
    assert found.keys() == wanted.keys()
    assert {tensor.dtype for tensor in found.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_language_model_of_a_release_is_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, tmp_path):
    parse.write_assets(laid_out / "parse", tmp_path, settings("parse"))
    found, wanted = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()  # as the server does, which asks for no variant
        for folder in (tmp_path / "checkpoint", tiny_checkpoints / "parse")
    )
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("step", ["inpaint", "mask"])
def test_a_steps_assets_are_the_same_however_its_files_are_cut(laid_out, tiny_checkpoints, tmp_path, step):
    found, wanted = (
        STEPS[step].write_assets(folder / step, tmp_path, settings(step)) for folder in (laid_out, tiny_checkpoints)
    )
    assert found == wanted


def test_every_weight_that_is_read_counts_for_the_fingerprint(laid_out):
    assert set(readable(laid_out)) >= set(laid_out.rglob("*.safetensors"))


@pytest.mark.parametrize(("variant", "shards"), [(None, 3), ("fp16", 1), ("fp16", 3)])
def test_xls_second_text_encoder_may_be_cut_as_well(tmp_path, variant, shards):
    skeleton.write("sdxl-inpainting", tmp_path / "plain", miniature=True)
    folder = copied(tmp_path / "plain", tmp_path / "cut")
    for part, kind in XL_PARTS.items():
        save_again(kind, folder / part, variant=variant, shards=shards)
    for load in (sdxl.load_text_encoder, sdxl.load_unet):
        found, wanted = (load(place).module.state_dict() for place in (folder, tmp_path / "plain"))
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_variants_are_read_only_where_the_weights_are_not_there_by_themselves():
    both = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]
    alone = ["vae/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
             "vae/diffusion_pytorch_model.fp16-00002-of-00002.safetensors"]  # fmt: skip
    further = ["text_encoder/model.fp16.safetensors", "text_encoder/model.bf16.safetensors"]
    older = ["image/model-00001-of-00002.safetensors", "image/model-00001-of-00002.fp16.safetensors"]
    whole = ["sd-v1-5-inpainting.safetensors", "sd-v1-5-inpainting.fp16.safetensors"]
    index = ["unet/diffusion_pytorch_model.safetensors.index.fp16.json", "model_index.json"]
    assert unread([*both, *alone, *further, *older, *whole, *index]) == {both[1], further[1], older[1], *whole}
    assert unread(whole) == {whole[1]}


def test_fp16_variants_alone_are_downloaded(monkeypatch, tmp_path):
    listing = {"unet/diffusion_pytorch_model.fp16.safetensors": 7, "vae/diffusion_pytorch_model.safetensors": 7,
               "vae/diffusion_pytorch_model.fp16.safetensors": 10**18}  # fmt: skip
    asked = []

    def snapshot_download(repository, *, dry_run=False, **wanted):
        asked.append(wanted)
        files = [SimpleNamespace(filename=name, file_size=size, will_download=True) for name, size in listing.items()]
        return files if dry_run else str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert hub.fetch("some/checkpoint", "main") == tmp_path
    assert asked[-1]["ignore_patterns"] == ["vae/diffusion_pytorch_model.fp16.safetensors"]


def test_without_the_hub_the_cache_answers(monkeypatch, tmp_path):
    def snapshot_download(repository, *, dry_run=False, **wanted):
        if dry_run:
            raise DryRunError("offline")
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    assert hub.fetch("some/checkpoint", "main") == tmp_path
