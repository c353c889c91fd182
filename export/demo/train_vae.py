"""Train the demo's AutoencoderKL (factor 8, 4 latent channels): `python -m export.demo.train_vae`.

From nothing the whole of it learns. With --decoder-only and --continue its encoder stays as it is, and with it all
that a UNet has learnt of the latents: the cheapest way to sharper pictures.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel

from export.demo import crops, pools
from export.demo.losses import Critic, reconstruction
from export.demo.training import Run, arguments

PATCH = 80
"""Side of the pieces trained on, px. Their rims count as all else: a decoder that never learns rims paints them."""
ADVERSARIAL, FEATURES = 0.02, 0.4
"""Weights of the critic's opinion and of the likeness of its features."""
CRITIC_FROM = 0.15
"""Share of the time before the critic has a say: before that it would only chase noise."""
KL = 2e-5
NOISE = 0.2
"""Up to so much of the latents' deviation is added as noise: what a UNet of 12 steps leaves of it near the truth."""


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


class Pieces:
    """Random pieces of the crops, mostly from the middle, where the objects are; a function of the step alone."""

    def __init__(self, images: np.ndarray, batch: int, device: str):
        self.images, self.batch, self.device = torch.from_numpy(images).to(device), batch, device

    def __call__(self, step: int) -> torch.Tensor:
        """float32 [b, 3, 80, 80] in −1 … 1."""
        rng = np.random.default_rng([step, 5])
        spread = crops.SIZE - PATCH
        rows = rng.integers(0, len(self.images), self.batch)
        corners = np.clip(rng.normal(spread / 2, spread / 3.2, (2, self.batch)), 0, spread).astype(np.int64)
        n, y, x = (torch.from_numpy(each).to(self.device) for each in (rows, *corners))
        side = torch.arange(PATCH, device=self.device)
        pieces = self.images[n[:, None, None], (y[:, None] + side)[:, :, None], (x[:, None] + side)[:, None, :]]
        if rng.random() < 0.5:
            pieces = pieces.flip(2)
        return pieces.permute(0, 3, 1, 2).float() / 127.5 - 1


class Lesson:
    """The network, its critic and what trains them."""

    def __init__(self, vae: AutoencoderKL, device: str, *, decoder_only: bool):
        self.vae, self.critic, self.device = vae.to(device), Critic().to(device), device
        vae.requires_grad_(not decoder_only)
        for part in (vae.decoder, vae.post_quant_conv):
            part.requires_grad_(True)
        self.learning = [weight for weight in vae.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.AdamW(self.learning, betas=(0.9, 0.99), weight_decay=1e-4)
        self.critics = torch.optim.AdamW(self.critic.parameters(), lr=4e-4, betas=(0.5, 0.9), weight_decay=0.0)
        self.ema = EMAModel(self.learning, decay=0.998, use_ema_warmup=True, power=0.8)

    def parts(self) -> dict:
        return {"vae": self.vae, "optimiser": self.optimiser, "critic": self.critic, "critics": self.critics,
                "ema": self.ema}  # fmt: skip

    def step(self, wanted: torch.Tensor, *, judged: bool) -> tuple[float, float]:
        """One step on pictures [b, 3, 80, 80]; the loss of the reconstruction, and the critic's own."""
        with torch.autocast(self.device, torch.bfloat16):
            posterior = self.vae.encode(wanted).latent_dist
            made = self.vae.decode(noised(posterior.sample())).sample
        made = made.float()
        fault = reconstruction(made, wanted)
        loss = fault + KL * posterior.kl().float().mean() / 64
        if judged:
            self.critic.requires_grad_(False)
            adverse, unlike = self.critic.likeness(made, wanted)
            loss = loss + ADVERSARIAL * adverse + FEATURES * unlike
            self.critic.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
        self.ema.step(self.learning)
        mistakes = self.critic.mistakes(made, wanted)
        self.critics.zero_grad(set_to_none=True)
        mistakes.backward()
        self.critics.step()
        return fault.item(), mistakes.item()


def noised(latents: torch.Tensor) -> torch.Tensor:
    """Latents [b, 4, h, w] as imperfect as a UNet's, each row by another amount."""
    amount = NOISE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    return latents + amount * latents.detach().std() * torch.randn_like(latents)


def main() -> None:
    only = {"action": "store_true", "help": "leave the encoder, and so all latents, as they are"}
    options = arguments(__doc__, minutes=120, batch=8, **{"decoder-only": only})
    images = pools.pool(options.crops, options.work)["image"]
    vae = network()
    if options.go_on:
        vae = AutoencoderKL.from_pretrained(options.out / "vae", torch_dtype=torch.float32)
    lesson = Lesson(vae, options.device, decoder_only=options.decoder_only)
    pieces = Pieces(images, options.batch, options.device)
    run = Run("decoder" if options.decoder_only else "vae", options, peak=4e-4 if options.go_on else 1.2e-3)
    run.resume(**lesson.parts())
    for step in run.steps():
        run.rate(lesson.optimiser)
        fault, mistakes = lesson.step(pieces(step), judged=run.done > CRITIC_FROM)
        run.tell(fault, critic=mistakes)
        if run.due():
            run.save(**lesson.parts())
            finish(lesson, images, options)
    run.save(**lesson.parts())
    finish(lesson, images, options)


@torch.no_grad()
def finish(lesson: Lesson, images: np.ndarray, options) -> None:
    """Measure the scaling factor (1 / the latents' deviation) and the PSNR, and write the averaged checkpoint."""
    vae, device = copy.deepcopy(lesson.vae), options.device
    lesson.ema.copy_to([weight for weight in vae.parameters() if weight.requires_grad])
    some = torch.from_numpy(images[:96]).permute(0, 3, 1, 2).float().to(device) / 127.5 - 1
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in some.split(16)])
    made = torch.cat([vae.decode(part).sample for part in latents[:32].split(16)])
    psnr = -10 * torch.log10(F.mse_loss(made.clamp(-1, 1), some[:32]) / 4)
    if not options.decoder_only:
        vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    vae.register_to_config(_name_or_path="inpaint/vae")  # not where it lay on this machine
    vae.half().save_pretrained(options.out / "vae")
    print(f"vae: PSNR {psnr:.2f} dB, scaling factor {vae.config.scaling_factor}", flush=True)


if __name__ == "__main__":
    main()
