"""Inpainting by latent diffusion: text and crop in, pictures out; the networks are called by name.

Equal to diffusers' StableDiffusionInpaintPipeline for the same noise, with the mean of the encoder's distribution
in place of a sample of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from serving.diffusion.assets import Assets
from serving.diffusion.denoise import Model, Progress, denoise, noise_sampler
from serving.diffusion.options import Options
from serving.imaging.crop import Canvas

Infer = Callable[[str, dict[str, np.ndarray], Sequence[str]], Mapping[str, np.ndarray]]
"""(network, inputs by name, names of outputs) -> outputs by name; arrays carry the batch axis."""

VAE_ROWS = 8
"""At most so many rows a call: the max_batch_size of the VAE's models."""


def encode_prompt(assets: Assets, infer: Infer, caption: str, options: Options) -> np.ndarray:
    """Text embeddings, float32 [1, tokens, width]; [2, …], the negative prompt's first, when guided."""
    texts = [options.negative_prompt, caption] if options.guided else [caption]
    rows = [np.array([assets.tokens(text)], np.int64) for text in texts]
    # One call a text: what was encoded lately need not be again.
    return np.concatenate(
        [infer("text_encoder", {"input_ids": ids}, ["last_hidden_state"])["last_hidden_state"] for ids in rows]
    )


def encode_images(assets: Assets, infer: Infer, images: np.ndarray) -> np.ndarray:
    """Latents, float32 [n, channels, h, w], of `images`, float32 [n, size, size, 3] in 0 … 255: n <= VAE_ROWS."""
    sample = np.ascontiguousarray(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
    parameters = infer("vae_encoder", {"sample": sample}, ["latent_parameters"])["latent_parameters"]
    mean = parameters[:, : assets.settings.latent_channels]
    return mean * np.float32(assets.settings.scaling_factor)


def decode_latents(assets: Assets, infer: Infer, latents: np.ndarray) -> np.ndarray:
    """Images, float32 [n, size, size, 3] in 0 … 255, of `latents`."""
    latents = np.ascontiguousarray(latents / np.float32(assets.settings.scaling_factor))
    parts = [infer("vae_decoder", {"latent_sample": latents[i : i + VAE_ROWS]}, ["sample"])["sample"]
             for i in range(0, len(latents), VAE_ROWS)]  # fmt: skip
    sample = np.concatenate(parts).transpose(0, 2, 3, 1)
    return np.clip((sample + 1) * np.float32(127.5), 0, 255)


def masked_image(canvas: Canvas) -> np.ndarray:
    """The canvas with its hole in mid-grey, the 0 of the VAE's -1 … 1."""
    return np.where(canvas.hole[..., None], np.float32(127.5), canvas.image)


def latent_hole(canvas: Canvas, factor: int) -> np.ndarray:
    """The hole on the latents' grid, float32 [1, 1, h, w]: its nearest pixel, as diffusers does."""
    hole = canvas.hole
    nearest = hole[::factor, ::factor]
    if not nearest.any():  # a line thin enough to slip between the grid's points
        h, w = nearest.shape
        nearest = (canvas.mask > 0).reshape(h, factor, w, factor).any(axis=(1, 3))
    return nearest[None, None].astype(np.float32)


def guided_unet(infer: Infer, condition: np.ndarray, prompt_embeds: np.ndarray, guidance_scale: float) -> Model:
    """The UNet as the sampler's model: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).

    `condition`, [1, channels, h, w], is what each row sees beside its sample: the hole, then the latents of the
    masked image. `prompt_embeds` has two rows, unconditional first, or one for no guidance.
    """

    def model(sample: np.ndarray, timestep: float) -> np.ndarray:
        count = len(sample)
        rows = np.concatenate([sample, condition.repeat(count, axis=0)], axis=1)
        inputs = {
            "sample": np.concatenate([rows] * len(prompt_embeds)),
            "timestep": np.full((count * len(prompt_embeds), 1), timestep, np.float32),
            "encoder_hidden_states": prompt_embeds.repeat(count, axis=0),
        }
        output = infer("unet", inputs, ["out_sample"])["out_sample"]
        if len(prompt_embeds) == 1:
            return output
        unconditional, conditional = output[:count], output[count:]
        return unconditional + np.float32(guidance_scale) * (conditional - unconditional)

    return model


def denoise_canvas(
    assets: Assets,
    infer: Infer,
    canvas: Canvas,
    masked_image_latents: np.ndarray,
    caption: str,
    options: Options,
    seeds: Sequence[int],
) -> Iterator[Progress]:
    """The latents, float32 [seeds, channels, h, w], after each denoising step; the last sample is the result.

    `masked_image_latents` is `encode_images` of `masked_image(canvas)`, [1, channels, h, w]. With a strength below 1
    the loop starts from the canvas as it is, hole and all.
    """
    hole = latent_hole(canvas, assets.settings.vae_factor)
    prompt_embeds = encode_prompt(assets, infer, caption, options)
    model = guided_unet(
        infer, np.concatenate([hole, masked_image_latents], axis=1), prompt_embeds, options.guidance_scale
    )
    noise = noise_sampler(seeds, masked_image_latents.shape[1:])
    strength = 1.0 if options.strength is None else options.strength
    picture_latents = None if strength == 1 else encode_images(assets, infer, canvas.image[None])
    plan = assets.plan(options.num_inference_steps, strength)
    return denoise(model, plan, noise, picture_latents)
