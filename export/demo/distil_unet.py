"""Distil the demo's UNet into a latent consistency model: four steps without guidance instead of twenty with it.

    python -m export.demo.distil_unet --out export/demo/weights/inpaint_lcm --teacher export/demo/weights/inpaint

Luo et al. 2023 (arXiv 2310.04378): where the teacher's guided DDIM step leads along its path, the student must say
the same of the picture from both ends. The guidance scale is the demo's own, so the student takes none.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import torch
from diffusers import LCMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from transformers import CLIPTextModel, CLIPTokenizer

from export.demo.latents import encoded
from export.demo.train_unet import BATCH, CONTEXT, OUTSIDE, scheduler
from export.demo.training import Run, arguments
from export.presets import PRESETS

GUIDANCE: float = PRESETS["demo"].settings["inpaint"]["guidance_scale"]
SOLVER_STEPS = 50
"""The teacher's DDIM steps; diffusers calls them original_inference_steps."""
TARGET_DECAY = 0.95
HUBER = 1e-3
"""Width of the pseudo-Huber loss, as in diffusers' own distillation script."""


def student_scheduler() -> LCMScheduler:
    return LCMScheduler.from_config(scheduler().config, original_inference_steps=SOLVER_STEPS)


def boundary(timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the sample and of the prediction the consistency function takes (formula 9, scaling 10)."""
    scaled = 10.0 * timestep.clamp(min=0).float()
    return 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()


class Distillation:
    """Batches, the teacher and the loss; everything but the student is fixed."""

    def __init__(self, options):
        self.batch, self.device = options.batch, options.device
        parts = encoded(options.teacher / "vae", options.side, options)
        self.latents = {name: torch.from_numpy(parts[name]).to(self.device) for name in ("clean", "masked", "mask")}
        captions, self.caption_of = np.unique(parts["caption"], return_inverse=True)
        tokenizer = CLIPTokenizer.from_pretrained(options.teacher / "tokenizer")
        text_encoder = CLIPTextModel.from_pretrained(options.teacher / "text_encoder", dtype=torch.float32)
        tokens = tokenizer([*captions.tolist(), ""], padding="max_length", max_length=CONTEXT, return_tensors="pt")
        with torch.no_grad():
            self.texts = text_encoder(tokens.input_ids).last_hidden_state.to(self.device)
        self.teacher = UNet2DConditionModel.from_pretrained(options.teacher / "unet", torch_dtype=torch.float32)
        self.teacher.set_attn_processor(AttnProcessor())
        self.teacher.to(self.device).eval()
        self.levels = scheduler().alphas_cumprod.to(self.device)

    def mixture(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and noise at each row's timestep, below 0 the clean end; [b, 1, 1, 1]."""
        level = torch.where(timestep >= 0, self.levels[timestep.clamp(min=0)], torch.ones_like(self.levels[:1]))
        return level.sqrt().view(-1, 1, 1, 1), (1 - level).sqrt().view(-1, 1, 1, 1)

    def v(self, unet, sample, condition, timestep, texts) -> torch.Tensor:
        with torch.autocast(self.device, torch.bfloat16):
            rows = torch.cat([sample, condition], 1)
            return unet(rows, timestep.clamp(min=0), texts).sample.float()

    def consistent(self, unet, sample, condition, timestep, texts) -> torch.Tensor:
        """The consistency function: what `unet` says of the clean latents at `sample`."""
        signal, sigma = self.mixture(timestep)
        clean = signal * sample - sigma * self.v(unet, sample, condition, timestep, texts)
        skip, out = (weight.view(-1, 1, 1, 1) for weight in boundary(timestep))
        return skip * sample + out * clean

    def loss(self, step: int, student, target) -> torch.Tensor:
        rng = np.random.default_rng([step, 11])
        rows = rng.integers(0, len(self.caption_of), self.batch)
        clean, masked, mask = (self.latents[name][rows].float() for name in self.latents)
        condition, texts = torch.cat([mask, masked], 1), self.texts[self.caption_of[rows]]
        stride = 1000 // SOLVER_STEPS
        spread = ((rng.permutation(self.batch) + rng.random(self.batch)) / self.batch * SOLVER_STEPS).astype(np.int64)
        start = torch.from_numpy((spread + 1) * stride - 1).to(self.device)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(self.device)
        signal, sigma = self.mixture(start)
        sample = signal * clean + sigma * noise
        with torch.no_grad():
            with_text, without = self.v(
                self.teacher,
                torch.cat([sample] * 2),
                torch.cat([condition] * 2),
                torch.cat([start] * 2),
                torch.cat([texts, self.texts[-1:].expand_as(texts)]),
            ).chunk(2)
            v = without + GUIDANCE * (with_text - without)
            signal_end, sigma_end = self.mixture(start - stride)
            earlier = signal_end * (signal * sample - sigma * v) + sigma_end * (sigma * sample + signal * v)
            wanted = self.consistent(target, earlier, condition, start - stride, texts)
        said = self.consistent(student, sample, condition, start, texts)
        distance = ((said - wanted) ** 2 + HUBER**2).sqrt() - HUBER
        weight = mask + OUTSIDE * (1 - mask)
        return (weight * distance).sum() / (4 * weight.sum())


def main() -> None:
    side = {"type": int, "default": 192, "help": "px of the crops (default: %(default)s)"}
    teacher = {"type": Path, "required": True, "help": "checkpoint folder of the pipeline to distil"}
    options = arguments(__doc__, minutes=40, batch=BATCH, side=side, teacher=teacher)
    work = Distillation(options)
    student = copy.deepcopy(work.teacher).train()
    target = copy.deepcopy(work.teacher)
    optimiser = torch.optim.AdamW(student.parameters(), betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    ema = EMAModel(student.parameters(), decay=0.995, use_ema_warmup=True, power=0.8)
    run = Run("lcm", options, peak=2e-4, warmup=50)
    run.resume(student=student, target=target, optimiser=optimiser, ema=ema)
    for step in run.steps():
        run.rate(optimiser)
        loss = work.loss(step, student, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        ema.step(student.parameters())
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - TARGET_DECAY)
        run.tell(loss.item())
        if run.due():
            run.save(student=student, target=target, optimiser=optimiser, ema=ema)
            finish(options, student, ema)
    run.save(student=student, target=target, optimiser=optimiser, ema=ema)
    finish(options, student, ema)


def finish(options, student: UNet2DConditionModel, ema: EMAModel) -> None:
    """Write the averaged weights in half precision, and the scheduler; the rest of the pipeline is the teacher's."""
    averaged = copy.deepcopy(student)
    ema.copy_to(averaged.parameters())
    averaged.register_to_config(_name_or_path="inpaint/unet")  # the teacher's, not where it lay on this machine
    averaged.half().save_pretrained(options.out / "unet")
    student_scheduler().save_pretrained(options.out / "scheduler")
    link_rest(options.out, options.teacher)


def link_rest(out: Path, teacher: Path) -> None:
    """Link what the student's pipeline shares with the teacher's, and write its model_index.json."""
    index = json.loads((teacher / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", LCMScheduler.__name__]
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in teacher.glob("*/*"):
        link = out / path.relative_to(teacher)
        if not link.exists() and link.parent.name not in ("unet", "scheduler"):
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(os.path.relpath(path, link.parent))


if __name__ == "__main__":
    main()
