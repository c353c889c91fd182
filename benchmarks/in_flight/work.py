"""One denoising loop on made-up latents: what both ways of batching in flight have to do."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from serving.diffusion.pipeline import Assets
from serving.diffusion.samplers import make_plan

Rows = dict[str, np.ndarray]
GUIDANCE = 4.0


def loop(assets: Assets, seed: int, num_inference_steps: int) -> Generator[Rows, np.ndarray, np.ndarray]:
    """Yields the UNet's inputs of each step, is sent its output, returns the latents: DDIM with guidance."""
    rng = np.random.default_rng(seed)
    side = assets.settings["size"] // assets.settings["vae_factor"]
    sample = rng.standard_normal((1, 4, side, side), dtype=np.float32)
    condition = rng.standard_normal((1, 5, side, side), dtype=np.float32)
    texts = rng.standard_normal((2, assets.settings["context_length"], 128), dtype=np.float32)
    for step in make_plan("ddim", assets.scheduler, num_inference_steps).steps:
        rows = np.concatenate([sample, condition], axis=1)
        output = yield {
            "sample": np.concatenate([rows, rows]),
            "timestep": np.full((2, 1), step.timestep, np.float32),
            "encoder_hidden_states": texts,
        }
        mixed = output[:1] + np.float32(GUIDANCE) * (output[1:] - output[:1])
        said = np.float32(step.said_sample) * sample + np.float32(step.said_output) * mixed
        sample = np.float32(step.next.base) * sample + np.float32(step.next.history[0]) * said
    return sample


def read_assets(repository: str) -> Assets:
    """Release 1's; the models of this benchmark lie beside inpaint's."""
    return Assets.read(Path(repository).parent / "inpaint" / "1")
