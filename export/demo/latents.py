"""The crops as the VAE sees them: what the demo's UNet and its distillation learn from."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from export.demo import pools

ROWS = 50
"""Crops encoded at a time."""


@torch.no_grad()
def encoded(vae: Path, side: int, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """`options.crops` crops, shrunk to `side` px, as latents of the checkpoint in the folder `vae`.

    Keys: `clean`, `masked` float16 [n, 4, side / 8, side / 8], scaled; `mask` bool [n, 1, side / 8, side / 8];
    `caption` str [n]. Kept in `options.work`, for these weights of the encoder.
    """
    network = AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float32).to(options.device).eval()
    network = network.to(memory_format=torch.channels_last)
    key = f"{side}-{_digest(network)}"
    parts = []
    for drawn in pools.draw(options.crops, options.work):
        file = drawn.with_name(f"latents-{key}-{drawn.name}")
        if not file.exists():
            with np.load(drawn) as stored:
                rows = [_encode(network, side, stored["image"][at : at + ROWS], stored["mask"][at : at + ROWS])
                        for at in range(0, len(stored["mask"]), ROWS)]  # fmt: skip
                part = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
                np.savez(file.with_suffix(".part.npz"), caption=stored["caption"], **part)
            file.with_suffix(".part.npz").rename(file)
        with np.load(file) as stored:
            parts.append({name: stored[name] for name in stored.files})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _encode(vae: AutoencoderKL, side: int, images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    device = vae.device
    image = torch.from_numpy(images.transpose(0, 3, 1, 2)).to(device).float() / 127.5 - 1
    image = F.interpolate(image, size=(side, side), mode="bicubic", antialias=True)
    image = image.contiguous(memory_format=torch.channels_last)
    hole = F.interpolate(torch.from_numpy(masks[:, None]).to(device).float(), size=(side, side)) > 0.5
    encoded = {"mask": hole[:, :, ::8, ::8].cpu().numpy()}
    for name, picture in (("clean", image), ("masked", image.masked_fill(hole, 0.0))):
        with torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(picture).latent_dist.mean
        encoded[name] = (latents.float() * vae.config.scaling_factor).cpu().numpy().astype(np.float16)
    return encoded


def _digest(vae: AutoencoderKL) -> str:
    """Names the encoder's weights: latents of others are of no use."""
    digest = hashlib.sha256(str(vae.config.scaling_factor).encode())
    for part in (vae.encoder, vae.quant_conv):
        for weight in part.state_dict().values():
            digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]
