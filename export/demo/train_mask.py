"""Train the demo's segmenter, a tiny CLIPSeg, from nothing: `python -m export.demo.train_mask --out FOLDER`.

Scenes are collages (collage.py); each is asked for in several ways (queries.py): a kind in it, a colour and
kind in it, and things that are not there, whose mask is empty. The image tower runs once a scene, the decoder
once a query. For the first part of the time there are no queries: the tower alone learns to tell kind and
colour at every patch, which costs a third of a whole step and teaches more; then the decoder learns to ask it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTokenizer,
    ViTImageProcessor,
)
from transformers.utils.logging import disable_progress_bar

from export.demo import queries, world
from export.demo.collage import Collage, Scissors
from export.demo.tiny_clipseg import CONTEXT_LENGTH, PATCH, SIZE, build, decode, see
from export.demo.training import optimisers

MEAN, STD = (0.55, 0.56, 0.56), (0.25, 0.23, 0.25)
BATCH, QUERIES = 16, 5
PEAK_RATE, MATRIX_RATE, WARM_UP_STEPS, EMA_DECAY = 1e-3, 2e-3, 100, 0.997
TOWER_FIRST = 0.4
"""Share of the time in which only the tower learns."""
BACKGROUND = 0.15
"""Weight of a patch of background in the tower's lesson: most patches are."""
SAVE_EVERY_S = 120
THRESHOLD = 0.5
EMPTY_SMOOTHING = 30.0
"""Added to both sides of the Dice fraction, in px: a small spot in an empty mask is a fault too."""


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus Dice; `truth` is 0 … 1, [rows, h, w]."""
    likely = logits.sigmoid()
    shared, total = (likely * truth).sum((1, 2)), (likely + truth).sum((1, 2))
    dice = 1 - (2 * shared + EMPTY_SMOOTHING) / (total + EMPTY_SMOOTHING)
    return functional.binary_cross_entropy_with_logits(logits, truth) * 4 + dice.mean()


class Batch:
    """What is asked of a batch of collages, as tensors: the words, and the true mask of each query."""

    def __init__(self, scenes: list[Collage], rng: np.random.Generator, tokenizer: CLIPTokenizer, side: int):
        asked = [query for scene in scenes for query in queries.ask(rng, scene.names, QUERIES)]
        masks = [scenes[i // QUERIES].masks[list(wanted)].max(0, initial=0) for i, (_, wanted) in enumerate(asked)]
        truth = torch.from_numpy(np.stack(masks)).float()[:, None] / 255
        self.truth = functional.interpolate(truth, size=(side, side), mode="area")[:, 0]
        words = tokenizer([words for words, _ in asked], padding=True, return_tensors="pt")
        self.ids, self.attention = words.input_ids, words.attention_mask


def pixels_of(images: list[np.ndarray]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack(images)).float() / 255
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2).contiguous()


def patch_labels(scene: Collage) -> tuple[torch.Tensor, torch.Tensor]:
    """The kind and the colour that fill most of each patch, as class indices [patches]; 0 is the background."""
    share = functional.avg_pool2d(torch.from_numpy(scene.masks).float() / 255, PATCH).flatten(1)
    most, which = share.max(0)
    kinds = torch.tensor([1 + world.KINDS.index(kind) for kind, _ in scene.names])[which]
    colours = torch.tensor([1 + world.COLOURS.index(colour) for _, colour in scene.names])[which]
    return kinds * (most > 0.3), colours * (most > 0.3)


def plain_attention(part: nn.Module) -> None:
    """Attention as matrix products: on a CPU the fused kernel's gradient takes half of a training step."""
    for module in part.modules():
        config: Any = getattr(module, "config", None)
        if config is not None and hasattr(module, "q_proj"):
            config._attn_implementation = "eager"


class Lesson(nn.Module):
    """The model with the head that tells kind and colour at every patch, used in training only."""

    def __init__(self, model: CLIPSegForImageSegmentation):
        super().__init__()
        self.model = model
        plain_attention(model)
        self.classes = [1 + len(world.KINDS), 1 + len(world.COLOURS)]
        self.hint = nn.Linear(model.config.vision_config.hidden_size, sum(self.classes))

    def forward(self, pixels: torch.Tensor, scenes: list[Collage], batch: Batch | None) -> torch.Tensor:
        """The loss of what the tower tells of each patch, and with a batch of queries that of their masks."""
        with torch.autocast("cpu", torch.bfloat16):
            activations = see(self.model, pixels)
            told = self.hint(activations[-1][:, 1:])
        loss = torch.zeros(())
        labels = (torch.stack(rows).flatten() for rows in zip(*map(patch_labels, scenes), strict=True))
        for logits, wanted in zip(told.float().flatten(0, 1).split(self.classes, 1), labels, strict=True):
            weights = torch.ones(logits.shape[1])
            weights[0] = BACKGROUND
            loss = loss + functional.cross_entropy(logits, wanted, weight=weights)
        if batch is None:
            return loss
        with torch.autocast("cpu", torch.bfloat16):
            texts = self.model.clip.get_text_features(batch.ids, attention_mask=batch.attention).pooler_output
            masks = decode(self.model, activations, texts)
        return 0.3 * loss + loss_of(masks.float(), batch.truth)

    def optimisers(self) -> list[torch.optim.Optimizer]:
        layers = [self.model.clip.vision_model.encoder, self.model.clip.text_model.encoder, self.model.decoder.layers]
        return optimisers(self.parameters(), layers, matrix_rate=MATRIX_RATE, rate=PEAK_RATE, weight_decay=0.02)


def train(out: Path, minutes: float, resume: bool, seed: int) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    disable_progress_bar()
    rng, tokenizer = np.random.default_rng(seed), queries.tokenizer(CONTEXT_LENGTH)
    model = CLIPSegForImageSegmentation.from_pretrained(out).float() if resume else build(tokenizer)
    lesson, smooth = Lesson(model).train(), copy.deepcopy(model)
    muon, adam = lesson.optimisers()
    scissors, side, step, running = Scissors(SIZE, seed), SIZE // PATCH * (PATCH // 4) ** 2, 0, 0.0
    started = saved = time.monotonic()
    while (spent := (time.monotonic() - started) / 60 / minutes) < 1:
        scenes = [scissors.collage(rng) for _ in range(BATCH)]
        batch = None if spent < TOWER_FIRST and not resume else Batch(scenes, rng, tokenizer, side)
        loss = lesson(pixels_of([scene.image for scene in scenes]), scenes, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(lesson.parameters(), 1.0)
        for optimiser, peak in zip((muon, adam), (MATRIX_RATE, PEAK_RATE), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * rate(step, spent)
            optimiser.step()
            optimiser.zero_grad()
        blend(smooth, model, min(EMA_DECAY, (step + 1) / (step + 10)))
        step, running = step + 1, 0.98 * running + 0.02 * loss.item()
        if time.monotonic() - saved > SAVE_EVERY_S:
            save(smooth, tokenizer, out)
            saved = time.monotonic()
            print(f"{spent:6.1%} step {step} loss {running / (1 - 0.98**step):.4f} "
                  f"{measure(smooth, tokenizer)}", flush=True)  # fmt: skip
    save(smooth, tokenizer, out)
    print(f"done: step {step} {measure(smooth, tokenizer)}", flush=True)


def rate(step: int, spent: float) -> float:
    """The learning rate's share of its peak: warm-up, then a cosine to a fiftieth; `spent` 0 … 1 of the time."""
    return min((step + 1) / WARM_UP_STEPS, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))


@torch.no_grad()
def blend(smooth: nn.Module, model: nn.Module, decay: float) -> None:
    for slow, fast in zip(smooth.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


@torch.no_grad()
def measure(model: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, scenes: int = 24) -> str:
    """IoU of present things and the share of absent ones left empty, on true renders kept out of training."""
    overlaps, empty = [], []
    rng = np.random.default_rng(5)
    for seed in range(world.HELD_OUT - scenes, world.HELD_OUT):
        scene = world.scene(seed, (SIZE, SIZE))
        names = tuple((thing.kind, thing.colour) for thing in scene.things)
        masks = np.stack([thing.mask for thing in scene.things])
        asked = queries.ask(rng, names, QUERIES)
        words = tokenizer([words for words, _ in asked], padding=True, return_tensors="pt")
        texts = model.clip.get_text_features(words.input_ids, attention_mask=words.attention_mask).pooler_output
        logits = decode(model, see(model, pixels_of([scene.image])), texts)
        found = functional.interpolate(logits[None], size=(SIZE, SIZE), mode="bilinear")[0].sigmoid() > 0.5
        for area, (_, wanted) in zip(found.numpy(), asked, strict=True):
            truth = masks[list(wanted)].max(0, initial=0) >= 128
            if truth.any():
                overlaps.append((area & truth).sum() / (area | truth).sum())
            else:
                empty.append(area.sum() < 60)
    return f"iou {np.mean(overlaps):.3f} found {np.mean(np.array(overlaps) > 0.5):.2f} empty {np.mean(empty):.2f}"


def save(model: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, out: Path) -> None:
    """Write the checkpoint in Hugging Face layout, fp16; a reader never sees half a file."""
    fresh = out.with_name(out.name + ".new")
    copy.deepcopy(model).half().save_pretrained(fresh)
    images = ViTImageProcessor(size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN), image_std=list(STD))
    CLIPSegProcessor(images, tokenizer).save_pretrained(fresh)
    own = {"threshold": THRESHOLD, "template": "{}", "knows": world.KINDS}
    (fresh / "recast.json").write_text(json.dumps(own) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    for file in fresh.iterdir():
        os.replace(file, out / file.name)
    shutil.rmtree(fresh)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--minutes", type=float, default=60, help="how long to train")
    parser.add_argument("--resume", action="store_true", help="start from the weights in --out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.out, arguments.minutes, arguments.resume, arguments.seed)
