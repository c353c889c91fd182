"""Every inpainting family in miniature, exported: our loop over the ONNX files against diffusers on the same folder."""

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from PIL import Image

from export import skeleton
from export.__main__ import arguments, run
from serving.cropping import Canvas
from serving.inpainting import Assets, decode, encode, generate, masked_image
from serving.options import Options
from serving.sampler import draws
from tests.exporting import empty_repository

FAMILIES = ["sd15-inpainting", "sd2-inpainting", "sdxl-inpainting"]
PROMPT = "a red car"


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(checkpoint folder, repository with its release 1)."""
    folder = tmp_path_factory.mktemp("family")
    skeleton.write(request.param, folder / "checkpoint", miniature=True)
    repository = empty_repository(folder / "model_repository")
    export(request.param, folder / "checkpoint", repository, "--precision", "fp32")
    return folder / "checkpoint", repository


def export(preset, checkpoint, repository, *options):
    words = ["--preset", preset, "--checkpoint", str(checkpoint), "--repository", str(repository), *options]
    run(arguments().parse_args(words))


def served(repository):
    """The release's assets, and its networks as the sampler calls them."""
    sessions = {
        network: onnxruntime.InferenceSession(str(repository / network / "1" / "model.onnx"))
        for network in ("text_encoder", "vae_encoder", "vae_decoder", "unet")
    }

    def infer(network, inputs, outputs):
        if network == "unet":  # as Triton's `reshape` does
            inputs = {**inputs, "timestep": inputs["timestep"][:, 0]}
        return dict(zip(outputs, sessions[network].run(outputs, inputs), strict=True))

    return Assets.read(repository / "inpaint" / "1"), infer


def canvas_of(size: int) -> Canvas:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    image = np.stack([128 + 90 * np.sin(x / 9 + c) * np.cos(y / (7 + c)) for c in range(3)], -1)
    mask = np.zeros((size, size), np.float32)
    mask[size // 3 : 3 * size // 4, size // 4 : size // 2 + 3] = 1
    return Canvas(np.rint(image).astype(np.float32), mask, np.ones((size, size), bool))


def by_diffusers(checkpoint, canvas: Canvas, options: Options) -> np.ndarray:
    pipe = DiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    size = len(canvas.image)
    sample = torch.from_numpy(masked_image(canvas).transpose(2, 0, 1)[None] / 127.5 - 1).float()
    with torch.no_grad():
        masked = pipe.vae.encode(sample).latent_dist.mean * pipe.vae.config.scaling_factor
    noise = next(draws(options.seeds, (4, size // pipe.vae_scale_factor, size // pipe.vae_scale_factor)))
    return pipe(
        prompt=PROMPT,
        negative_prompt=options.negative_prompt or None,
        image=Image.fromarray(canvas.image.astype(np.uint8)),
        mask_image=Image.fromarray((canvas.mask * 255).astype(np.uint8)),
        masked_image_latents=masked,
        latents=torch.from_numpy(noise),
        num_inference_steps=options.num_inference_steps,
        guidance_scale=options.guidance_scale,
        strength=1.0,
        height=size, width=size, output_type="np",
    ).images[0] * 255  # fmt: skip


def by_recast(repository, canvas: Canvas, options: Options) -> np.ndarray:
    assets, infer = served(repository)
    assert assets.settings["size"] == len(canvas.image)
    masked = encode(assets, infer, masked_image(canvas)[None])
    (*_, latents) = generate(assets, infer, canvas, masked, PROMPT, options)
    return decode(assets, infer, latents)[0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-12)))


@pytest.mark.parametrize("options", [Options(3, 8, 5.0), Options(4, 6, 3.0, "blurry"), Options(5, 4, 1.0)],
                         ids=["guided", "negative", "unguided"])  # fmt: skip
def test_the_whole_loop_equals_diffusers(family, options):
    checkpoint, repository = family
    canvas = canvas_of(128)
    wanted = by_diffusers(checkpoint, canvas, options)
    assert np.std(wanted) > 1
    assert psnr(by_recast(repository, canvas, options), wanted) >= 45


def test_attention_is_one_operator_in_the_unet(family):
    checkpoint, repository = family
    config = json.loads((checkpoint / "unet" / "config.json").read_text())
    graph = onnx.load(repository / "unet" / "1" / "model.onnx", load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    unet = UNet2DConditionModel.from_config(config)
    attentions = sum(isinstance(module, Attention) for module in unet.modules())
    assert kinds["MultiHeadAttention"] == attentions > 0
    assert kinds["Softmax"] == 0
