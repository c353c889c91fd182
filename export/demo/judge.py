"""The judge: a small classifier of kind and colour, trained on the renderer's crops only, used for scoring.

It also sees spoilt things, two halves that do not belong together and two things through one another, and calls them
nothing: else whatever looks a little like a car is a car. The service never sees the judge.
`python -m export.demo.judge --out export/demo/weights/judge` trains it.
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

from export.demo import pools, world
from export.demo.training import Run, arguments

SIDE, BATCH = 64, 48
SPOILT = 0.2
"""The share of pieces that are spoilt."""
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


def spoilt(rng: np.random.Generator, piece: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What no renderer draws, of two uint8 [64, 64, 3]: half of each, or one through the other."""
    if rng.random() < 0.4:
        return np.rint(piece * 0.5 + other * 0.5).astype(np.uint8)
    mixed, cut = piece.copy(), int(rng.integers(SIDE * 3 // 8, SIDE * 5 // 8))
    half = np.s_[:, cut:] if rng.random() < 0.5 else np.s_[cut:]
    mixed[half] = other[half]
    return mixed


class Pieces:
    """Batches of looks at the crops' holes, a function of the step alone."""

    def __init__(self, data: dict[str, np.ndarray], batch: int):
        shown = data["intent"] != "background"  # there the hole is all but the thing
        self.batch, self.images = batch, data["image"][shown]
        self.boxes = [world.bounds(mask.astype(np.uint8) * 255) for mask in data["mask"][shown]]
        self.kinds = np.array([world.KINDS.index(kind) if kind else NOTHING for kind in data["kind"][shown]])
        self.colours = np.array([world.COLOURS.index(colour) if colour else -100 for colour in data["colour"][shown]])

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(pieces [b, 3, 64, 64], kinds [b], colours [b]; −100 where there is none)."""
        rng = np.random.default_rng([step, 11])
        rows = rng.integers(0, len(self.images), self.batch)
        kinds, colours = self.kinds[rows], self.colours[rows]
        pieces = [self._look(rng, row) for row in rows]
        for n in np.flatnonzero(rng.random(self.batch) < SPOILT):
            other = int(rng.integers(len(self.images)))
            if NOTHING not in (kinds[n], self.kinds[other]) and kinds[n] != self.kinds[other]:
                pieces[n] = spoilt(rng, pieces[n], self._look(rng, other))
                kinds[n], colours[n] = NOTHING, -100
        return _tensor(pieces), torch.from_numpy(kinds), torch.from_numpy(colours)

    def _look(self, rng: np.random.Generator, row: int) -> np.ndarray:
        shift = tuple(rng.uniform(-0.05, 0.05, 2))
        piece = look(self.images[row], self.boxes[row], rng.uniform(1.02, 1.45), shift)
        return piece[:, ::-1] if rng.random() < 0.5 else piece


def main() -> None:
    options = arguments(__doc__, minutes=10, batch=BATCH)
    batches = Pieces(pools.pool(options.crops, options.work), options.batch)
    network = Network().to(options.device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    run = Run("judge", options, peak=2e-3)
    run.resume(network=network, optimiser=optimiser)
    for step in run.steps():
        run.rate(optimiser)
        pieces, kinds, colours = (part.to(options.device) for part in batches(step))
        kind, colour = network(pieces)
        loss = F.cross_entropy(kind, kinds) + F.cross_entropy(colour, colours, ignore_index=-100)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        run.tell(loss.item(), right=(kind.argmax(1) == kinds).float().mean().item())
        if run.due():
            run.save(network=network, optimiser=optimiser)
    run.save(network=network, optimiser=optimiser)
    options.out.mkdir(parents=True, exist_ok=True)
    save_file({n: t.half().contiguous() for n, t in network.state_dict().items()}, options.out / "model.safetensors")


if __name__ == "__main__":
    main()
