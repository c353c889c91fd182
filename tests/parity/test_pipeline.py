"""Our inpainting loop against diffusers' StableDiffusionInpaintPipeline, from one checkpoint folder and one noise."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    UniPCMultistepScheduler,
)

from benchmarks.diffusion import by_diffusers, canvas_of, psnr
from serving.diffusion.assets import Assets
from serving.diffusion.options import Options
from serving.diffusion.pipeline import decode_latents, denoise_canvas, encode_images, masked_image
from tests.checkpoints import write_inpaint

DEMO = Path(__file__).parents[2] / "export" / "demo" / "weights" / "inpaint"
SCHEDULERS = {
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm++2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}


@pytest.fixture(scope="module", params=["tiny", "demo"])
def pipeline(request, tmp_path_factory):
    folder = DEMO
    if request.param == "tiny":
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("inpaint")
        write_inpaint(folder)
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({"_diffusers_version": diffusers.__version__} | index))
    elif not (DEMO / "model_index.json").exists():
        pytest.skip("the demo weights are not here")
    pipe = StableDiffusionInpaintPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def release(pipe: StableDiffusionInpaintPipeline, sampler: str, folder: Path) -> Assets:
    """What export writes into a version folder of `inpaint`, from a pipeline."""
    tokenizer = pipe.tokenizer
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    pipe.scheduler.save_config(folder)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    settings = {
        "scaling_factor": pipe.vae.config.scaling_factor,
        "size": pipe.unet.config.sample_size * pipe.vae_scale_factor,
        "vae_factor": pipe.vae_scale_factor,
        "latent_channels": pipe.vae.config.latent_channels,
        "context_length": tokenizer.model_max_length,
        "tokenizers": [{"file": "tokenizer.json", **special}],
        "num_inference_steps": 10,
        "guidance_scale": 4.0,
        "sampler": sampler,
    }
    (folder / "inpaint.json").write_text(json.dumps(settings))
    return Assets.read(folder)


def networks(pipe: StableDiffusionInpaintPipeline):
    """The pipeline's own networks behind the interface that the served ones have."""

    @torch.no_grad()
    def infer(network, inputs, outputs):
        given = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        if network == "text_encoder":
            result = pipe.text_encoder(given["input_ids"]).last_hidden_state
        elif network == "vae_encoder":
            result = pipe.vae.encode(given["sample"]).latent_dist.parameters
        elif network == "unet":
            result = pipe.unet(given["sample"], given["timestep"][:, 0], given["encoder_hidden_states"]).sample
        else:
            result = pipe.vae.decode(given["latent_sample"]).sample
        return {outputs[0]: result.numpy()}

    return infer


@pytest.mark.parametrize(("sampler", "options"), [
    ("ddim", Options(3, 20, 4.0, "blurry")),
    ("ddim", Options(2**63 - 2, 4, 1.0, num_images=2)),
    ("dpm++2m", Options(11, 10, 7.5, num_images=2)),
    ("ddim", Options(3, 20, 4.0, "blurry", strength=0.7)),
    ("pndm", Options(5, 10, 4.0, strength=0.55)),
    ("euler", Options(2, 10, 4.0, num_images=2, strength=0.9)),
    ("dpm++2m", Options(11, 12, 4.0, strength=0.5)),
    ("unipc", Options(11, 10, 1.0, strength=0.3)),
], ids=lambda value: value if isinstance(value, str) else f"{value.num_inference_steps}-{value.strength}")  # fmt: skip
def test_the_loop_equals_diffusers(pipeline, sampler, options, tmp_path):
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config, skip_prk_steps=True)
    assets, infer = release(pipeline, sampler, tmp_path), networks(pipeline)
    canvas = canvas_of(assets.settings.size)
    masked = encode_images(assets, infer, masked_image(canvas)[None])
    samples = list(denoise_canvas(assets, infer, canvas, masked, "a red car", options, options.seeds))
    steps = int(options.num_inference_steps * (options.strength or 1)) + (sampler == "pndm")
    assert len(samples) == steps
    expected = by_diffusers(pipeline, canvas, "a red car", options)
    for image, reference in zip(decode_latents(assets, infer, samples[-1].sample), expected, strict=True):
        assert psnr(image, reference) >= 45
    assert np.std(expected[0]) > 1


@pytest.mark.parametrize("text", ["a red car", "", "EMPTY  background", "an umbrella " * 30, "naïve café 🚲"])
def test_tokens_equal_the_checkpoint_s_own(pipeline, text, tmp_path):
    assets = release(pipeline, "ddim", tmp_path)
    expected = pipeline.tokenizer(text, padding="max_length", truncation=True,
                                  max_length=pipeline.tokenizer.model_max_length).input_ids  # fmt: skip
    assert assets.tokens(text) == expected
