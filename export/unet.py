"""unet: one denoising step of Stable Diffusion inpainting."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from export import weights
from export.attention import OneOperator
from export.network import Network, integers

CHANNELS = 9
"""Noisy latents (4), mask (1) and latents of the masked picture (4)."""


class Unet(torch.nn.Module):
    """float32 sample [batch, 9, height, width], timestep [batch] (rows may differ), encoder_hidden_states
    [batch, sequence, hidden] -> float32 out_sample [batch, 4, height, width]."""

    def __init__(self, unet: UNet2DConditionModel):
        super().__init__()
        self.unet = unet

    def forward(self, sample, timestep, encoder_hidden_states):
        return self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]


def load(checkpoint: Path, wrapper: type[torch.nn.Module] = Unet) -> Network:
    """The UNet in `checkpoint`, a diffusers pipeline folder; `wrapper` has the inputs and the output of `Unet`."""
    unet = weights.load(
        UNet2DConditionModel, checkpoint / "unet", weights.DIFFUSERS, torch_dtype=torch.float32,
        low_cpu_mem_usage=False,
    )  # fmt: skip
    unet.set_attn_processor(OneOperator())
    multiple = 2 ** (len(unet.config.block_out_channels) - 1)
    side, fixed = unet.config.sample_size, {"hidden": unet.config.cross_attention_dim}
    return Network(
        name="unet",
        module=wrapper(unet),
        inputs={
            "sample": ("batch", CHANNELS, "height", "width"),
            "timestep": ("batch",),
            "encoder_hidden_states": ("batch", "sequence", "hidden"),
        },
        outputs={"out_sample": ("batch", unet.config.out_channels, "height", "width")},
        sizes=(
            {"batch": 2, "height": side, "width": side + multiple, "sequence": 16, **fixed},
            {"batch": 1, "height": side, "width": side, "sequence": 16, **fixed},
            {"batch": 3, "height": side + multiple, "width": 2 * multiple, "sequence": 24, **fixed},
        ),
        multiples={"height": multiple, "width": multiple, "sequence": 1},
        constant=frozenset(fixed),
        draws={"timestep": integers(0, 1000, torch.float32)},
    )
