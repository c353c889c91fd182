"""What the demo's training scripts share: a clock-driven schedule, resumable state, progress lines."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.demo.pools import COUNT

WORK = Path("build/demo")
"""Where training keeps its rendered pools and its resumable state; never in git."""
SAVE_EVERY_S = 60


def arguments(description: str, minutes: float, batch: int, **more: dict[str, Any]) -> argparse.Namespace:
    """The options that every training script has, and `more`: add_argument's own for each name."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write, in Hugging Face layout")
    parser.add_argument("--minutes", type=float, default=minutes, help="how long to train (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="rows a step (default: %(default)s, for a CPU)")
    parser.add_argument("--crops", type=int, default=COUNT, help="crops to train on (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=WORK, help="pools and resumable state (default: %(default)s)")
    parser.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="start from the checkpoint in --out instead of from nothing",
    )
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def optimisers(
    parameters: Iterable[nn.Parameter],
    layers: Iterable[nn.Module],
    *,
    matrix_rate: float,
    rate: float,
    weight_decay: float,
) -> list[torch.optim.Optimizer]:
    """[Muon (Jordan et al. 2024) for the matrices in `layers`, AdamW for the rest of `parameters`].

    A transformer needs about a third fewer steps than with Adam alone. Embeddings do not belong into `layers`.
    """
    matrices = [weight for layer in layers for weight in layer.parameters() if weight.ndim == 2]
    rest = [weight for weight in parameters if all(weight is not matrix for matrix in matrices)]
    muon = torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay)]


class Run:
    """Counts a training run's minutes over restarts and gives the learning rate its warm-up and cosine."""

    def __init__(self, name: str, options: argparse.Namespace, peak: float, warmup: int = 200):
        self.name, self.peak, self.warmup = name, peak, warmup
        self.state_file, self.device = options.work / f"{name}.pt", options.device
        self.budget = options.minutes * 60
        self.step, self.spent, self._mark, self._told = 0, 0.0, time.monotonic(), 0.0
        self._loss: float | None = None
        self._saved = 0.0

    @property
    def done(self) -> float:
        """The share of the minutes that is spent, 0 … 1."""
        return min(1.0, self.spent / self.budget)

    def due(self) -> bool:
        """Whether the state should be saved: every minute."""
        if self.spent - self._saved < SAVE_EVERY_S:
            return False
        self._saved = self.spent
        return True

    def resume(self, **parts) -> None:
        """Load the state of an earlier, interrupted run into `parts` (anything with load_state_dict)."""
        if self.state_file.exists():
            state = torch.load(self.state_file, map_location=self.device, weights_only=True)
            self.step, self.spent = state.pop("step"), state.pop("spent")
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self._told = self._saved = self.spent
            print(f"{self.name}: resumed at step {self.step}", flush=True)
        self._mark = time.monotonic()

    def save(self, **parts) -> None:
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in parts.items()} | {
            "step": self.step,
            "spent": self.spent,
        }
        torch.save(state, self.state_file.with_suffix(".part"))
        self.state_file.with_suffix(".part").rename(self.state_file)

    def steps(self):
        """Yield step numbers until the minutes are spent."""
        while self.spent < self.budget:
            yield self.step
            now = time.monotonic()
            self.spent, self._mark = self.spent + now - self._mark, now
            self.step += 1

    def rate(self, optimiser: torch.optim.Optimizer) -> None:
        """Set the learning rate for this step: linear warm-up, then a cosine to 2 % over the run's minutes."""
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.done))
        for group in optimiser.param_groups:
            group["lr"] = self.peak * min(1.0, (self.step + 1) / self.warmup) * cosine

    def tell(self, loss: float, every: float = 30.0, **more: float) -> None:
        """A progress line every `every` seconds."""
        self._loss = loss if self._loss is None else 0.98 * self._loss + 0.02 * loss
        if self.spent - self._told >= every:
            self._told = self.spent
            extra = "".join(f"  {name} {value:.4f}" for name, value in more.items())
            left = (self.budget - self.spent) / 60
            print(
                f"{self.name}: step {self.step}  loss {self._loss:.4f}{extra}  {left:.1f} min left",
                flush=True,
            )
