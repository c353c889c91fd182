"""vae_encoder and vae_decoder: between pixels and latents."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from export import weights
from export.attention import OneOperator
from export.checkpoint import read_json
from export.network import Network


class Encoder(torch.nn.Module):
    """float32 sample [batch, 3, height, width] in -1 ... 1 -> latent_parameters [batch, 2 · latent channels,
    latent_height, latent_width]: mean, then log variance, not yet multiplied by the scaling factor."""

    def __init__(self, vae: Any):
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv if vae.quant_conv is not None else torch.nn.Identity()

    def forward(self, sample):
        return self.quant_conv(self.encoder(sample))


class Decoder(torch.nn.Module):
    """float32 latent_sample [batch, latent channels, latent_height, latent_width], already divided by the scaling
    factor -> sample [batch, 3, height, width], about -1 ... 1."""

    def __init__(self, vae: Any):
        super().__init__()
        self.decoder = vae.decoder
        self.post_quant_conv = vae.post_quant_conv if vae.post_quant_conv is not None else torch.nn.Identity()

    def forward(self, latent_sample):
        return self.decoder(self.post_quant_conv(latent_sample))


def load_encoder(checkpoint: Path) -> Network:
    """The encoder of the VAE in `checkpoint`, a diffusers pipeline folder."""
    vae = _load(checkpoint)
    factor, side = downscale(vae.config), 64
    return Network(
        name="vae_encoder",
        module=Encoder(vae),
        inputs={"sample": ("batch", 3, "height", "width")},
        outputs={"latent_parameters": ("batch", 2 * vae.config.latent_channels, "latent_height", "latent_width")},
        sizes=(
            {"batch": 2, "height": side, "width": side + 4 * factor},
            {"batch": 1, "height": side, "width": side},
            {"batch": 3, "height": side + factor, "width": side},
        ),
        multiples={"height": factor, "width": factor},
        overflows=overflows(checkpoint),
    )


def load_decoder(checkpoint: Path) -> Network:
    """The decoder of the VAE in `checkpoint`, a diffusers pipeline folder."""
    vae = _load(checkpoint)
    return Network(
        name="vae_decoder",
        module=Decoder(vae),
        inputs={"latent_sample": ("batch", vae.config.latent_channels, "latent_height", "latent_width")},
        outputs={"sample": ("batch", 3, "height", "width")},
        sizes=(
            {"batch": 2, "latent_height": 8, "latent_width": 12},
            {"batch": 1, "latent_height": 8, "latent_width": 8},
            {"batch": 3, "latent_height": 9, "latent_width": 8},
        ),
        multiples={"latent_height": 1, "latent_width": 1},
        overflows=overflows(checkpoint),
    )


def downscale(config) -> int:
    """Pixels a side for each latent; `config` is an AutoencoderKL's."""
    return 2 ** (len(config["block_out_channels"]) - 1)


def overflows(checkpoint: Path) -> bool:
    """Whether the checkpoint says of its VAE that it overflows in float16, as Stable Diffusion XL's does."""
    return bool(read_json(checkpoint / "vae" / "config.json").get("force_upcast", False))


def _load(checkpoint: Path) -> Any:
    vae = weights.load(
        AutoencoderKL, checkpoint / "vae", weights.DIFFUSERS, torch_dtype=torch.float32, low_cpu_mem_usage=False
    )
    vae.set_attn_processor(OneOperator())
    return vae
