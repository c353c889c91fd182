"""diffusers' own inpainting pipelines and our loop over a release's files, fed with the same."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from PIL import Image

from serving.diffusion.assets import Assets
from serving.diffusion.denoise import noise_sampler
from serving.diffusion.options import Options
from serving.diffusion.pipeline import decode_latents, denoise_canvas, encode_images, masked_image
from serving.imaging.crop import Canvas


def canvas_of(size: int) -> Canvas:
    """A picture of waves with a box to fill."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    image = np.stack([128 + 90 * np.sin(x / 9 + c) * np.cos(y / (7 + c)) for c in range(3)], -1)
    mask = np.zeros((size, size), np.float32)
    mask[size // 3 : 3 * size // 4, size // 4 : size // 2 + 3] = 1
    return Canvas(np.rint(image).astype(np.float32), mask, np.ones((size, size), bool))


def by_diffusers(pipe, canvas: Canvas, caption: str, options: Options) -> list[np.ndarray]:
    """A picture a seed, float32 [size, size, 3] in 0 … 255, from our noise and the mean of the encoder's latents.

    Both stand where the pipeline would draw them: to start from noised latents it takes none that are given.
    """
    size, factor = len(canvas.image), pipe.vae_scale_factor
    shape = (pipe.vae.config.latent_channels, size // factor, size // factor)
    sample = torch.from_numpy(masked_image(canvas).transpose(2, 0, 1)[None] / 127.5 - 1).float()
    with torch.no_grad():
        masked = pipe.vae.encode(sample).latent_dist.mean * pipe.vae.config.scaling_factor
    images = []
    for seed in options.seeds:
        noise = torch.from_numpy(next(noise_sampler([seed], shape)))
        given = {
            "randn_tensor": lambda *_, noise=noise, **__: noise,
            "retrieve_latents": lambda encoded, **_: encoded.latent_dist.mean,
        }
        with patch.multiple(type(pipe).__module__, **given):  # type: ignore[call-overload]
            images += list(pipe(
                prompt=caption,
                negative_prompt=options.negative_prompt or None,
                image=Image.fromarray(canvas.image.astype(np.uint8)),
                mask_image=Image.fromarray((canvas.mask * 255).astype(np.uint8)),
                masked_image_latents=masked,
                num_inference_steps=options.num_inference_steps,
                guidance_scale=options.guidance_scale,
                strength=options.strength or 1.0,
                height=size, width=size, output_type="np",
            ).images * 255)  # fmt: skip
    return images


def by_recast(repository: Path, canvas: Canvas, caption: str, options: Options) -> np.ndarray:
    """The first seed's picture by release 1 in `repository`, without a server; as `by_diffusers` gives it."""
    assets = Assets.read(repository / "inpaint" / "1")
    assert assets.settings.size == len(canvas.image)

    @cache
    def session(network: str) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(str(repository / network / "1" / "model.onnx"))

    def infer(network: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        if network == "unet":  # as Triton's `reshape` does
            inputs = {**inputs, "timestep": inputs["timestep"][:, 0]}
        return dict(zip(outputs, session(network).run(list(outputs), inputs), strict=True))

    masked = encode_images(assets, infer, masked_image(canvas)[None])
    (*_, last) = denoise_canvas(assets, infer, canvas, masked, caption, options, options.seeds)
    return decode_latents(assets, infer, last.sample)[0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0 … 255."""
    return float(10 * np.log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-12)))
