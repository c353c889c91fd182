"""diffusers' own inpainting pipelines, fed with what ours is fed with."""

import numpy as np
import torch
from PIL import Image

from serving.cropping import Canvas
from serving.inpainting import masked_image
from serving.options import Options
from serving.sampler import draws


def canvas_of(size: int) -> Canvas:
    """A picture of waves with a box to fill."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    image = np.stack([128 + 90 * np.sin(x / 9 + c) * np.cos(y / (7 + c)) for c in range(3)], -1)
    mask = np.zeros((size, size), np.float32)
    mask[size // 3 : 3 * size // 4, size // 4 : size // 2 + 3] = 1
    return Canvas(np.rint(image).astype(np.float32), mask, np.ones((size, size), bool))


def by_diffusers(pipe, canvas: Canvas, caption: str, options: Options) -> list[np.ndarray]:
    """A picture a seed, float32 [size, size, 3] in 0 … 255, from our noise and the mean of the encoder's latents."""
    size, factor = len(canvas.image), pipe.vae_scale_factor
    shape = (pipe.vae.config.latent_channels, size // factor, size // factor)
    sample = torch.from_numpy(masked_image(canvas).transpose(2, 0, 1)[None] / 127.5 - 1).float()
    with torch.no_grad():
        masked = pipe.vae.encode(sample).latent_dist.mean * pipe.vae.config.scaling_factor
    images = []
    for seed in options.seeds:
        images += list(pipe(
            prompt=caption,
            negative_prompt=options.negative_prompt or None,
            image=Image.fromarray(canvas.image.astype(np.uint8)),
            mask_image=Image.fromarray((canvas.mask * 255).astype(np.uint8)),
            masked_image_latents=masked,
            latents=torch.from_numpy(next(draws([seed], shape))),
            num_inference_steps=options.num_inference_steps,
            guidance_scale=options.guidance_scale,
            strength=1.0,
            height=size, width=size, output_type="np",
        ).images * 255)  # fmt: skip
    return images


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0 … 255."""
    return float(10 * np.log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-12)))
