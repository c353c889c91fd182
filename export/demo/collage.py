"""Fast training scenes for the segmenter: things drawn once and pasted anew, as `world.draw` would place them.

Drawing a scene costs tens of milliseconds, most of it in the supersampled things. Here each kind is drawn in
each colour a few times, and a scene is a collage of such patches on a backdrop: about 3 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from export.demo import world
from export.demo.backdrop import backdrop
from export.demo.objects import KINDS, draw_object

VARIANTS = 8
BACKDROPS = 320
HEIGHT = 136
"""Height in px at which patches are drawn: that of a thing that a closer look shows in a 192 px view."""

LEAST_AREA = 60
"""A thing with fewer px in view is not asked for."""


@dataclass(frozen=True)
class Collage:
    """`image` is uint8 [S, S, 3]; `masks` uint8 [things, S, S], 0 … 255, the visible part of each thing."""

    image: np.ndarray
    masks: np.ndarray
    names: tuple[tuple[str, str], ...]
    """(kind, colour) of each thing."""


class Scissors:
    """Cuts the patches once (about a minute), then makes collages of `size` px a side, squashed to a square."""

    def __init__(self, size: int, seed: int = 0):
        rng = np.random.default_rng([seed, 71])
        self.size = size
        self.patches = {(kind, colour): [_patch(rng, kind, colour) for _ in range(VARIANTS)]
                        for kind in world.KINDS for colour in world.COLOURS}  # fmt: skip
        self.backdrops = [_backdrop(int(rng.integers(world.HELD_OUT))) for _ in range(BACKDROPS)]
        blob = Image.new("L", (96, 48))
        blob.paste(120, (24, 12, 72, 36))
        self.shadow = blob.filter(ImageFilter.GaussianBlur(6))

    def collage(self, rng: np.random.Generator) -> Collage:
        planned, drawn = self.backdrops[rng.integers(len(self.backdrops))]
        things = self._things(rng, planned)
        view = _view(rng, things, planned.aspect)
        corner = (view[0] * drawn.width, view[1] * drawn.height,
                  view[2] * drawn.width, view[3] * drawn.height)  # fmt: skip
        canvas = drawn.resize((self.size, self.size), Image.Resampling.BILINEAR, corner)
        alphas = [self._paste(rng, canvas, thing, planned.light, view) for thing in things]
        image, masks = np.asarray(canvas), _visible(alphas)
        kept = [i for i, mask in enumerate(masks) if (mask >= 128).sum() >= LEAST_AREA]
        if not kept:
            return self.collage(rng)
        masks = masks[kept]
        if rng.random() < 0.5:
            image, masks = image[:, ::-1], np.ascontiguousarray(masks[:, :, ::-1])
        return Collage(_jitter(rng, image), masks, tuple((things[i].kind, things[i].colour) for i in kept))

    def _things(self, rng: np.random.Generator, planned: world.Plan) -> list[world.Placed]:
        """1 to 5 things; a third of the scenes holds two of one kind."""
        wanted = int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.2, 0.3, 0.2, 0.2]))
        things: list[world.Placed] = []
        for _ in range(12 * wanted):
            if len(things) == wanted:
                break
            thing = world.place_thing(rng, planned.aspect, planned.horizon, crowd=wanted)
            if len(things) == 1 and wanted > 1 and rng.random() < 0.35 and thing.kind != things[0].kind:
                continue
            if all(world.overlap(thing.box, other.box) < 0.04 for other in things):
                things.append(thing)
        if len(things) > 1 and rng.random() < 0.3:
            first, second = things[0], things[1]
            wide = (second.box[3] - second.box[1]) * KINDS[first.kind].aspect / planned.aspect
            box = (second.box[0], second.box[1], min(0.99, second.box[0] + wide), second.box[3])
            things[1] = replace(second, kind=first.kind, box=box)
        return sorted(things, key=lambda thing: thing.box[3])

    def _paste(self, rng, canvas: Image.Image, thing: world.Placed, light, view) -> np.ndarray:
        """Put a thing and its shadow on the canvas; returns its whole alpha, uint8 [S, S]."""
        patch, margin_x, margin_y = self.patches[thing.kind, thing.colour][rng.integers(VARIANTS)]
        scale_x, scale_y = self.size / (view[2] - view[0]), self.size / (view[3] - view[1])
        x0, x1 = (thing.box[0] - view[0]) * scale_x, (thing.box[2] - view[0]) * scale_x
        y0, y1 = (thing.box[1] - view[1]) * scale_y, (thing.box[3] - view[1]) * scale_y
        w, h = max(6.0, x1 - x0), max(6.0, y1 - y0)
        shadow = self.shadow.resize((max(2, round(2.04 * w)), max(2, round(0.2 * h))), Image.Resampling.BILINEAR)
        foot = (round((x0 + x1) / 2 - shadow.width / 2 - light[0] * w * 0.06), round(y1 - shadow.height / 2))
        canvas.paste((22, 22, 30), foot, shadow)
        scaled = patch.resize((max(4, round(w * margin_x)), max(4, round(h * margin_y))), Image.Resampling.BILINEAR)
        corner = (round(x0 - (scaled.width - w) / 2), round(y0 - (scaled.height - h) / 2))
        canvas.paste(scaled, corner, scaled)
        alpha = Image.new("L", canvas.size)
        alpha.paste(scaled.getchannel("A"), corner)
        return np.asarray(alpha)


def _patch(rng: np.random.Generator, kind: str, colour: str) -> tuple[Image.Image, float, float]:
    """A drawn thing and how much wider and higher its patch is than its box."""
    width = round(HEIGHT * KINDS[kind].aspect)
    tilt = float(rng.uniform(-5, 5)) if rng.random() < 0.5 else 0.0
    light = (float(rng.choice([-0.7, 0.7])), -0.7)
    paint, flip = world.vary(rng, colour), bool(rng.random() < 0.5)
    drawn = draw_object(kind, paint, width, HEIGHT, flip=flip, tilt=tilt, light=light)
    return drawn, drawn.width / width, drawn.height / HEIGHT


def _backdrop(seed: int) -> tuple[world.Plan, Image.Image]:
    planned = world.plan(seed)
    return planned, Image.fromarray(backdrop(planned, round(240 * planned.aspect), 240))


def _view(rng: np.random.Generator, things: list[world.Placed], aspect: float) -> tuple[float, float, float, float]:
    """The part of the scene that is seen, in fractions: all of it, most of it, or one thing from near.

    The mask step looks at the whole picture first, then at a square around what it found.
    """
    chance = rng.random()
    if chance < 0.45:
        return (0.0, 0.0, 1.0, 1.0)
    if chance < 0.6:
        w, h = rng.uniform(0.7, 1.0, 2)
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    else:
        box = things[rng.integers(len(things))].box
        side = min(rng.uniform(1.25, 2.2) * max((box[2] - box[0]) * aspect, box[3] - box[1]), 1.0, aspect)
        w, h = side / aspect, side
        x = np.clip((box[0] + box[2] - w) / 2 + rng.uniform(-0.15, 0.15) * w, 0, 1 - w)
        y = np.clip((box[1] + box[3] - h) / 2 + rng.uniform(-0.15, 0.15) * h, 0, 1 - h)
    return (float(x), float(y), float(x + w), float(y + h))


def _visible(alphas: list[np.ndarray]) -> np.ndarray:
    """What later (nearer) things leave of each, uint8 [things, S, S]."""
    covered = np.zeros_like(alphas[0])
    seen = []
    for alpha in reversed(alphas):
        seen.append(np.minimum(alpha, 255 - covered))
        covered = np.maximum(covered, alpha)
    return np.stack(seen[::-1])


def _jitter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Small changes of brightness, contrast and white balance, and some noise: what cameras and files do."""
    gain = rng.uniform(0.92, 1.08) * rng.uniform(0.97, 1.03, 3)
    out = (image.astype(np.float32) - 128) * gain + 128 + rng.uniform(-10, 10)
    if rng.random() < 0.3:
        out += rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 6)
    return np.clip(out, 0, 255).astype(np.uint8)
