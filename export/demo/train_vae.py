"""Train the demo's AutoencoderKL (factor 8, 4 latent channels) from nothing: `python -m export.demo.train_vae`."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from export.demo import crops
from export.demo.training import Run, arguments

PATCH, BATCH, POOL = 64, 8, 8000


def network() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=crops.SIZE,
        mid_block_add_attention=False,
    )


def patches(images: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Random 64 px pieces, mostly from the middle where the objects are, float32 [b, 3, 64, 64] in −1 … 1."""
    spread = crops.SIZE - PATCH
    batch = []
    for n in rng.integers(0, len(images), BATCH):
        y, x = np.clip(rng.normal(spread / 2, spread / 3.2, 2), 0, spread).astype(int)
        piece = images[n, y : y + PATCH, x : x + PATCH]
        batch.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 + half the squared error + L1 of the colours at two coarse scales + a quarter of the L1 of the image
    gradients at two scales. The coarse term makes colours come early: at full size brightness outweighs them."""
    loss = F.l1_loss(made, wanted) + 0.5 * F.mse_loss(made, wanted)
    for scale in (2, 8):
        off = F.avg_pool2d(made - wanted, scale)
        loss = loss + 0.5 * off.abs().mean() + 1.5 * (off - off.mean(1, keepdim=True)).abs().mean()
    for scale in (1, 2):
        a, b = (F.avg_pool2d(t, scale) if scale > 1 else t for t in (made, wanted))
        for axis in (2, 3):
            loss = loss + 0.25 * F.l1_loss(a.diff(dim=axis), b.diff(dim=axis))
    return loss


def main() -> None:
    options = arguments(__doc__, minutes=45)
    images = crops.pool(0, POOL, options.work)["image"]
    vae = network()
    if options.go_on:
        vae = AutoencoderKL.from_pretrained(options.out / "vae", torch_dtype=torch.float32)
    vae = vae.to(options.device)
    optimiser = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run("vae", options, peak=1.2e-3)
    run.resume(vae=vae, optimiser=optimiser)
    for step in run.steps():
        run.rate(optimiser)
        wanted = patches(images, np.random.default_rng([step, 5])).to(options.device)
        with torch.autocast(options.device, torch.bfloat16):
            posterior = vae.encode(wanted).latent_dist
            made = vae.decode(posterior.sample()).sample
        loss = reconstruction_loss(made.float(), wanted) + 2e-5 * posterior.kl().float().mean() / 64
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        run.tell(loss.item())
        if step % 300 == 299:
            run.save(vae=vae, optimiser=optimiser)
            finish(vae, images, options)
    run.save(vae=vae, optimiser=optimiser)
    finish(vae, images, options)


@torch.no_grad()
def finish(vae: AutoencoderKL, images: np.ndarray, options) -> None:
    """Measure the scaling factor (1 / the latents' deviation) and the PSNR, and write the checkpoint."""
    some = torch.from_numpy(images[:96]).permute(0, 3, 1, 2).float().to(options.device) / 127.5 - 1
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in some.split(16)])
    made = torch.cat([vae.decode(part).sample for part in latents[:32].split(16)])
    psnr = -10 * torch.log10(F.mse_loss(made.clamp(-1, 1), some[:32]) / 4)
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    copy.deepcopy(vae).half().save_pretrained(options.out / "vae")
    print(f"vae: PSNR {psnr:.2f} dB, scaling factor {vae.config.scaling_factor}", flush=True)


if __name__ == "__main__":
    main()
