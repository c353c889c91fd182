"""Train the demo's UNet and CLIP text encoder together, on latents of the demo's VAE, from nothing.

v-prediction (Salimans and Ho, 2022, appendix D) with SD's noise schedule; the loss counts mostly inside the
mask, because the rest is pasted over anyway. Shapes are learnt on small crops, where a step is cheap and sees all
of a thing, and then sharpened on large ones:

    python -m export.demo.train_unet --out FOLDER
    python -m export.demo.train_unet --out FOLDER --side 192 --continue --minutes 40
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from export.demo import captions
from export.demo.latents import encoded
from export.demo.training import Run, arguments

BATCH, OUTSIDE, CONTEXT, WIDTH = 32, 0.15, 16, 128
"""Rows a step on a CPU; the loss's weight outside the mask; the text encoder's tokens and width."""


def text_parts() -> tuple[CLIPTokenizer, CLIPTextModel]:
    """A byte-level BPE tokenizer trained on the world's captions, and a small text encoder for it."""
    tokenizer = CLIPTokenizer(model_max_length=CONTEXT).train_new_from_iterator(captions.every() * 4, vocab_size=640)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, CLIPTextModel(config)


def network(side: int) -> UNet2DConditionModel:
    plain, attentive = "DownBlock2D", "CrossAttnDownBlock2D"
    return UNet2DConditionModel(
        sample_size=side // 8,
        in_channels=9,
        out_channels=4,
        layers_per_block=1,
        norm_num_groups=16,
        block_out_channels=(64, 96, 128),
        down_block_types=(plain, attentive, attentive),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class Batches:
    """Training batches on the device, a function of the step alone."""

    def __init__(self, data: dict[str, np.ndarray], tokenizer: CLIPTokenizer, batch: int, device: str):
        self.batch, self.device = batch, device
        self.parts = {name: torch.from_numpy(data[name]).to(device) for name in ("clean", "masked", "mask")}
        texts, self.caption_of = np.unique(data["caption"], return_inverse=True)
        texts = [*texts.tolist(), ""]
        self.tokens = tokenizer(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt").input_ids.to(
            device
        )
        self.abar = scheduler().alphas_cumprod.to(device)

    def __call__(self, step: int):
        """(sample [b, 9, h, w], timestep [b], input_ids [b, 16], wanted v [b, 4, h, w], weight [b, 1, h, w])."""
        rng = np.random.default_rng([step, 7])
        rows = rng.integers(0, len(self.caption_of), self.batch)
        clean, masked, mask = (self.parts[name][rows].float() for name in ("clean", "masked", "mask"))
        texts = np.where(rng.random(self.batch) < 0.1, len(self.tokens) - 1, self.caption_of[rows])
        spread = (rng.permutation(self.batch) + rng.random(self.batch)) / self.batch
        timestep = torch.from_numpy((spread * 1000).astype(np.int64)).to(self.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(self.device)
        signal, sigma = (f.view(-1, 1, 1, 1) for f in (self.abar[timestep].sqrt(), (1 - self.abar[timestep]).sqrt()))
        sample = torch.cat([signal * clean + sigma * noise, mask, masked], 1)
        return (
            sample,
            timestep,
            self.tokens[texts],
            signal * noise - sigma * clean,
            mask + OUTSIDE * (1 - mask),
        )


def main() -> None:
    side = {"type": int, "default": 128, "help": "px that crops are shrunk to (default: %(default)s)"}
    options = arguments(__doc__, minutes=90, batch=BATCH, side=side)
    data = encoded(options.out / "vae", options.side, options)
    tokenizer, text_encoder = text_parts()
    unet = network(options.side)
    if options.go_on:
        tokenizer = CLIPTokenizer.from_pretrained(options.out / "tokenizer")
        text_encoder = CLIPTextModel.from_pretrained(options.out / "text_encoder", dtype=torch.float32)
        unet = UNet2DConditionModel.from_pretrained(options.out / "unet", torch_dtype=torch.float32)
        unet.register_to_config(sample_size=options.side // 8)
    # On a CPU the fused kernel's gradient in bf16 takes a third of the step; plain attention does not.
    unet.set_attn_processor(AttnProcessor())
    parts = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).to(options.device)
    optimiser = torch.optim.AdamW(parts.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    ema = EMAModel(parts.parameters(), decay=0.999, use_ema_warmup=True, power=0.8)
    peak = (5e-4 if options.go_on else 9e-4) * (options.batch / BATCH) ** 0.25
    run = Run(f"unet-{options.side}", options, peak)
    batches = Batches(data, tokenizer, options.batch, options.device)
    run.resume(parts=parts, optimiser=optimiser, ema=ema)
    for step in run.steps():
        run.rate(optimiser)
        sample, timestep, tokens, wanted, weight = batches(step)
        # Not compiled: under autocast torch.compile 2.13 gives the text encoder a gradient of zero.
        with torch.autocast(options.device, torch.bfloat16):
            predicted = unet(sample, timestep, text_encoder(tokens).last_hidden_state).sample
        loss = (weight * (predicted.float() - wanted) ** 2).sum() / (4 * weight.sum())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimiser.step()
        ema.step(parts.parameters())
        run.tell(loss.item())
        if run.due():
            run.save(parts=parts, optimiser=optimiser, ema=ema)
            finish(options.out, tokenizer, parts, ema)
    run.save(parts=parts, optimiser=optimiser, ema=ema)
    finish(options.out, tokenizer, parts, ema)


def finish(out: Path, tokenizer: CLIPTokenizer, parts: torch.nn.ModuleDict, ema: EMAModel) -> None:
    """Write the averaged weights as a pipeline folder, in half precision."""
    ema.store(parts.parameters())
    ema.copy_to(parts.parameters())
    vae = AutoencoderKL.from_pretrained(out / "vae")
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=parts["text_encoder"],
        tokenizer=tokenizer,
        unet=parts["unet"],
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(out)
    parts.float()
    ema.restore(parts.parameters())


if __name__ == "__main__":
    main()
