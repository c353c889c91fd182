"""Every inpainting family in miniature, exported: our loop over the ONNX files against diffusers on the same folder."""

import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from benchmarks.diffusion import by_diffusers, by_recast, canvas_of, psnr
from export import skeleton
from export.presets import PRESETS
from serving.diffusion.options import Options
from serving.language.model import LanguageModel
from tests.exporting import empty_repository, export

FAMILIES = ["sd15-inpainting", "sd2-inpainting", "sdxl-inpainting"]
PROMPT = "a red car"


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(checkpoint folder, repository with its release 1)."""
    folder = tmp_path_factory.mktemp("family")
    skeleton.write(request.param, folder / "checkpoint", miniature=True)
    repository = empty_repository(folder / "model_repository")
    export(repository, folder / "checkpoint", "--precision", "fp32", preset=request.param)
    return folder / "checkpoint", repository


@pytest.mark.slow  # an export of each; the loop itself is compared in test_pipeline.py
@pytest.mark.parametrize("options", [Options(3, 8, 5.0), Options(4, 6, 3.0, "blurry"), Options(5, 4, 1.0)],
                         ids=["guided", "negative", "unguided"])  # fmt: skip
def test_the_whole_loop_equals_diffusers(family, options):
    checkpoint, repository = family
    canvas = canvas_of(128)
    pipe = DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    (wanted,) = by_diffusers(pipe, canvas, PROMPT, options)
    assert np.std(wanted) > 1
    assert psnr(by_recast(repository, canvas, PROMPT, options), wanted) >= 45


@pytest.mark.slow
def test_attention_is_one_operator_in_the_unet(family):
    checkpoint, repository = family
    config = json.loads((checkpoint / "unet" / "config.json").read_text())
    graph = onnx.load(repository / "unet" / "1" / "model.onnx", load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    unet = UNet2DConditionModel.from_config(config)
    attentions = sum(isinstance(module, Attention) for module in unet.modules())
    assert kinds["MultiHeadAttention"] == attentions > 0
    assert kinds["Softmax"] == 0


@pytest.mark.slow
def test_a_vae_that_overflows_stays_in_fp32(tmp_path):
    skeleton.write("sdxl-inpainting", tmp_path / "checkpoint", miniature=True)
    repository = empty_repository(tmp_path / "model_repository")
    export(repository, tmp_path / "checkpoint", preset="sdxl-inpainting")
    networks = json.loads((repository / "inpaint" / "1" / "release.json").read_text())["networks"]
    precisions = {name: network["precision"] for name, network in networks.items()}
    assert precisions == {"text_encoder": "fp16", "vae_encoder": "fp32", "vae_decoder": "fp32", "unet": "fp16"}


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(PRESETS.keys() - {"demo", "demo-lcm", *FAMILIES}))
def test_every_other_preset_exports_in_miniature(preset, tmp_path):
    skeleton.write(preset, tmp_path / "checkpoint", miniature=True, nf4=preset == "qwq-32b-preview")
    repository = empty_repository(tmp_path / "model_repository")
    export(repository, tmp_path / "checkpoint", preset=preset)
    (step,) = PRESETS[preset].checkpoints
    folder = repository / step / "1"
    settings = json.loads((folder / f"{step}.json").read_text())
    assert settings.items() >= json.loads(json.dumps(PRESETS[preset].settings[step])).items()
    if step == "parse":
        model = LanguageModel(folder / "checkpoint", quantisation=settings["quantisation"])
        ((answer, score),) = model.answer(["Replace the car with a boat"])
        assert set(json.loads(answer)) == {"intent", "target", "replacement"}
        assert 0 < score < 1
