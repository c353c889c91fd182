"""What the demo's diffusion model learns from: 192 px crops, a mask in each, and what belongs in the mask.

Masks are made as the `mask` step makes them: a rounded box in which the new thing stands, or, for a recolour,
the thing's own outline grown a little. A box never tells the kind of what fills it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from export.demo import world

SIZE = 192
EMPTY = "empty background"


@dataclass(frozen=True)
class Crop:
    """`image` is uint8 [192, 192, 3], `mask` bool [192, 192] (true: to be filled), `caption` what fills it."""

    image: np.ndarray
    mask: np.ndarray
    caption: str
    kind: str | None
    colour: str | None


def crop(seed: int) -> Crop:
    """The training crop of `seed`: 72 % replacements, 14 % recolours, 14 % removals."""
    rng = np.random.default_rng([seed, 61])
    planned = world.plan(seed, count=int(rng.choice([1, 2, 2, 3])))
    intent = rng.choice(["replace", "recolour", "remove"], p=[0.72, 0.14, 0.14])
    hole = _hole(rng, planned)
    planned, placed = _furnish(rng, planned, hole)
    thing: world.Placed | None = placed
    if intent == "remove":
        planned, thing = replace(planned, things=planned.things[:-1]), None
    side, corner = _window(rng, hole, planned.aspect)
    height = round(SIZE / side)
    width = round(height * planned.aspect)
    drawn = world.draw(planned, (max(width, SIZE), max(height, SIZE)))
    h, w = drawn.image.shape[:2]
    left = int(np.clip(round(corner[0] / planned.aspect * w), 0, w - SIZE))
    top = int(np.clip(round(corner[1] * h), 0, h - SIZE))
    window = np.s_[top : top + SIZE, left : left + SIZE]
    if intent == "recolour":
        mask = _outline_mask(rng, drawn.things[-1].mask[window])
    else:
        box = (
            hole[0] / planned.aspect * w - left,
            hole[1] * h - top,
            hole[2] / planned.aspect * w - left,
            hole[3] * h - top,
        )
        mask = _box_mask(rng, box)
    caption = EMPTY if thing is None else _caption(rng, thing)
    return Crop(drawn.image[window].copy(), mask, caption, *(thing.kind, thing.colour) if thing else (None, None))


def _hole(rng: np.random.Generator, planned: world.Plan) -> tuple[float, float, float, float]:
    """The mask's box, in units of the frame's height, its foot on the ground."""
    tall = rng.uniform(0.26, 0.56) * min(1.0, planned.aspect)
    wide = min(tall * np.exp(rng.uniform(np.log(0.74), np.log(1.36))), 0.92 * planned.aspect)
    foot = rng.uniform(max(planned.horizon + 0.1, tall + 0.01), 0.99)
    x0 = rng.uniform(0.01, planned.aspect - wide - 0.01)
    return x0, foot - tall, x0 + wide, foot


def _furnish(rng: np.random.Generator, planned: world.Plan, hole: tuple[float, ...]) -> tuple[world.Plan, world.Placed]:
    """Put a new thing into the hole, as large as fits, standing near its foot; clear the things in the way."""
    x0, y0, x1, y1 = hole
    thing = world.place_thing(rng, planned.aspect, planned.horizon)
    aspect = world.DRAWINGS[thing.kind].aspect * rng.uniform(0.94, 1.06)
    foot = y1 - (y1 - y0) * rng.uniform(0.09, 0.14)
    scale = rng.uniform(0.86, 0.96)
    tall = min((foot - y0) * 0.97, (x1 - x0) / aspect) * scale
    wide = tall * aspect
    middle = (x0 + x1) / 2 + rng.uniform(-0.5, 0.5) * (1 - scale) * (x1 - x0)
    a = planned.aspect
    placed = replace(thing, box=((middle - wide / 2) / a, foot - tall, (middle + wide / 2) / a, foot))
    frame = (x0 / a, y0, x1 / a, y1)
    others = tuple(other for other in planned.things if world.overlap(other.box, frame) < 0.12)
    return replace(planned, things=(*others, placed)), placed


def _window(rng: np.random.Generator, hole: tuple[float, ...], aspect: float) -> tuple[float, tuple[float, float]]:
    """A square window around the hole: its side and its corner, in units of the frame's height."""
    longest = max(hole[2] - hole[0], hole[3] - hole[1])
    side = min(longest / rng.uniform(0.55, 0.84), 1.0, aspect)
    middle = ((hole[0] + hole[2]) / 2, (hole[1] + hole[3]) / 2)
    x, y = (m - side / 2 + rng.uniform(-0.03, 0.03) * side for m in middle)
    return side, (x, y)


def _box_mask(rng: np.random.Generator, box: tuple[float, ...]) -> np.ndarray:
    image = Image.new("L", (SIZE, SIZE))
    radius = rng.uniform(0.05, 0.25) * min(box[2] - box[0], box[3] - box[1])
    ImageDraw.Draw(image).rounded_rectangle([round(v) for v in box], radius=radius, fill=255)
    return np.asarray(image) > 127


def _outline_mask(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    reach = int(rng.choice([5, 7, 9]))
    return np.asarray(Image.fromarray(alpha).filter(ImageFilter.MaxFilter(reach))) > 100


def _caption(rng: np.random.Generator, thing: world.Placed) -> str:
    """ "a red car"; often without its colour, as people write."""
    words = thing.kind if rng.random() < 0.3 else world.phrase(thing)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def pool(first: int, count: int, folder: Path) -> dict[str, np.ndarray]:
    """The crops of seeds `first` … `first + count` as stacked arrays, drawn once and kept in `folder`.

    Keys: `image` uint8 [n, 192, 192, 3], `mask` bool [n, 192, 192], `caption`, `kind`, `colour` str [n].
    """
    if first + count > world.HELD_OUT:
        raise ValueError("training must not see held-out seeds")
    file = folder / f"crops-{first}-{count}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        drawn = [crop(first + n) for n in range(count)]
        np.savez(
            file.with_suffix(".part.npz"),
            image=np.stack([c.image for c in drawn]),
            mask=np.stack([c.mask for c in drawn]),
            caption=[c.caption for c in drawn],
            kind=[c.kind or "" for c in drawn],
            colour=[c.colour or "" for c in drawn],
        )
        file.with_suffix(".part.npz").rename(file)
    with np.load(file) as stored:
        return {name: stored[name] for name in stored.files}
