"""One denoising loop on made-up latents: what both ways of batching in flight have to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serving.diffusion.assets import Assets
from serving.diffusion.samplers import make_plan

GUIDANCE = 4.0


class Loop:
    """DDIM with guidance: as long as `steps` has some, `inputs` go into the UNet, and its output into `advance`.

    `sample`, float32 [1, 4, side, side], are the latents.
    """

    def __init__(self, assets: Assets, seed: int, num_inference_steps: int):
        rng = np.random.default_rng(seed)
        side = assets.settings.size // assets.settings.vae_factor
        self.sample = rng.standard_normal((1, 4, side, side), dtype=np.float32)
        self._condition = rng.standard_normal((1, 5, side, side), dtype=np.float32)
        self._texts = rng.standard_normal((2, assets.settings.context_length, 128), dtype=np.float32)
        self.steps = list(make_plan("ddim", assets.scheduler, num_inference_steps).steps)

    def inputs(self) -> dict[str, np.ndarray]:
        """The UNet's inputs of the first of `steps`."""
        rows = np.concatenate([self.sample, self._condition], axis=1)
        return {
            "sample": np.concatenate([rows, rows]),
            "timestep": np.full((2, 1), self.steps[0].timestep, np.float32),
            "encoder_hidden_states": self._texts,
        }

    def advance(self, output: np.ndarray) -> None:
        """Take the first of `steps` with the UNet's output, float32 [2, 4, side, side], for `inputs`."""
        step = self.steps.pop(0)
        mixed = output[:1] + np.float32(GUIDANCE) * (output[1:] - output[:1])
        converted = np.float32(step.converted_sample) * self.sample + np.float32(step.converted_output) * mixed
        self.sample = np.float32(step.next.base) * self.sample + np.float32(step.next.history[0]) * converted


def read_assets(repository: str) -> Assets:
    """Release 1's; the models of this benchmark lie beside inpaint's."""
    return Assets.read(Path(repository).parent / "inpaint" / "1")
