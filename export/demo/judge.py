"""The judge: a small classifier of kind and colour, trained on the renderer's crops only, used for scoring.

The service never sees it. `python -m export.demo.judge --out export/demo/weights/judge` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from export.demo import crops, world
from export.demo.training import Run, arguments

SIDE, BATCH, POOL = 64, 48, 6000
NOTHING = len(world.KINDS)
"""The class of a crop in which nothing stands."""


class Network(nn.Module):
    """Four convolutions with strides and a pooled linear head; float32 [b, 3, 64, 64] in −1 … 1."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.kind = nn.Linear(widths[-1] * 16, NOTHING + 1)
        self.colour = nn.Linear(widths[-1] * 16, len(world.COLOURS))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(pixels).flatten(1)
        return self.kind(features), self.colour(features)


@dataclass(frozen=True)
class Verdict:
    """`kind` is None where the judge sees no object."""

    kind: str | None
    colour: str


class Judge:
    """Names what stands in a picture's region."""

    def __init__(self, folder: Path):
        self.network = Network().eval()
        self.network.load_state_dict({n: t.float() for n, t in load_file(folder / "model.safetensors").items()})

    @torch.no_grad()
    def __call__(self, image: np.ndarray, box: tuple[int, int, int, int]) -> Verdict:
        """`image` uint8 [H, W, 3]; `box` (x0, y0, x1, y1) in px, the region where something may stand."""
        kind, colour = self.network(_tensor([look(image, box)]))
        index = int(kind.argmax())
        return Verdict(None if index == NOTHING else world.KINDS[index], world.COLOURS[int(colour.argmax())])


def look(
    image: np.ndarray, box: tuple[float, ...], zoom: float = 1.2, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """The square around `box`, `zoom` times its longest side, uint8 [64, 64, 3]."""
    side = zoom * max(box[2] - box[0], box[3] - box[1], 4)
    x, y = (box[0] + box[2]) / 2 + shift[0] * side, (box[1] + box[3]) / 2 + shift[1] * side
    half = side / 2
    region = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
    pad = max(0, -min(region[:2]), region[2] - image.shape[1], region[3] - image.shape[0])
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge") if pad else image
    piece = padded[region[1] + pad : region[3] + pad, region[0] + pad : region[2] + pad]
    return np.asarray(Image.fromarray(piece).resize((SIDE, SIDE), Image.Resampling.BOX))


def _tensor(pieces: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).float() / 127.5 - 1


def main() -> None:
    options = arguments(__doc__, minutes=8)
    data = crops.pool(0, POOL, options.work)
    boxes = np.array([world.bounds(mask.astype(np.uint8) * 255) for mask in data["mask"]])
    kinds = torch.tensor([world.KINDS.index(k) if k else NOTHING for k in data["kind"]])
    colours = torch.tensor([world.COLOURS.index(c) if c else -100 for c in data["colour"]])
    network = Network().to(options.device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    run = Run("judge", options, peak=2e-3)
    run.resume(network=network, optimiser=optimiser)
    for step in run.steps():
        run.rate(optimiser)
        rng = np.random.default_rng([step, 11])
        rows = rng.integers(0, POOL, BATCH)
        pieces = [
            look(data["image"][n], boxes[n], rng.uniform(1.02, 1.45), tuple(rng.uniform(-0.05, 0.05, 2))) for n in rows
        ]
        pieces = [piece[:, ::-1] if rng.random() < 0.5 else piece for piece in pieces]
        kind, colour = network(_tensor(pieces).to(options.device))
        loss = F.cross_entropy(kind, kinds[rows]) + F.cross_entropy(colour, colours[rows], ignore_index=-100)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        run.tell(loss.item(), right=(kind.argmax(1) == kinds[rows]).float().mean().item())
    options.out.mkdir(parents=True, exist_ok=True)
    save_file({n: t.half().contiguous() for n, t in network.state_dict().items()}, options.out / "model.safetensors")


if __name__ == "__main__":
    main()
