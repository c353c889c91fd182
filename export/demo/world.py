"""The demo world: seeded scenes of simple objects, with exact masks, drawn in milliseconds.

A scene is planned first (what stands where, in fractions of the frame) and drawn second, so the same scene
can be drawn at any size, with or without one of its things. Everything is a function of the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from export.demo.backdrop import CUT_OUT, backdrop
from export.demo.objects import COLOURS as PAINTS
from export.demo.objects import KINDS as DRAWINGS
from export.demo.objects import draw_object
from export.demo.plans import Placed, Plan

KINDS = tuple(DRAWINGS)
COLOURS = tuple(PAINTS)
PLACES = ("street", "room", "lawn", "beach", "snow")
HELD_OUT = 1_000_000
"""Training sees scene seeds below this number only; every measurement uses seeds from it upwards."""

SIDES = (256, 768)
"""Shortest and longest side of a drawn scene in px."""


@dataclass(frozen=True)
class Thing:
    """One drawn thing. `mask` is uint8 [H, W], 0 … 255, its visible part; `box` is in px, x1 and y1 exclusive."""

    kind: str
    colour: str
    mask: np.ndarray
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """`image` is uint8 [H, W, 3]; things in front come later in `things`."""

    image: np.ndarray
    things: tuple[Thing, ...]
    place: str


def plan(seed: int, count: int | None = None) -> Plan:
    """Plan the scene of `seed`, with 1 to 5 things (or `count`, where they find room)."""
    rng = np.random.default_rng([seed, 17])
    aspect = float(rng.choice([4 / 3, 1.5, 1.0, 4 / 3, 0.75]))
    horizon = float(rng.uniform(0.36, 0.56))
    light = (float(rng.choice([-0.7, 0.7])), -0.7)
    wanted = count or int(rng.choice([1, 2, 3, 3, 4, 5]))
    things: list[Placed] = []
    for _ in range(12 * wanted):
        if len(things) == wanted:
            break
        candidate = place_thing(rng, aspect, horizon, crowd=wanted)
        if all(overlap(candidate.box, other.box) < 0.04 for other in things):
            things.append(candidate)
    things.sort(key=lambda thing: thing.box[3])
    return Plan(str(rng.choice(PLACES)), aspect, horizon, light, float(rng.uniform(0.86, 1.06)), tuple(things), seed)


def place_thing(rng: np.random.Generator, aspect: float, horizon: float, crowd: int = 1) -> Placed:
    """Draw a thing at random: kind, colour, size and a footing on the ground."""
    kind, colour = str(rng.choice(KINDS)), str(rng.choice(COLOURS))
    drawing = DRAWINGS[kind]
    tall = rng.uniform(*drawing.tall) * (1.0 if crowd < 3 else 0.82) * min(1.0, aspect)
    wide = min(0.9, tall * drawing.aspect * rng.uniform(0.93, 1.07) / aspect)
    foot = rng.uniform(max(horizon + 0.08, tall + 0.03), 0.95)
    x0 = rng.uniform(0.02, 0.98 - wide)
    return Placed(
        kind,
        colour,
        (x0, foot - tall, x0 + wide, foot),
        vary(rng, colour),
        bool(rng.random() < 0.5),
        float(rng.uniform(-5, 5)) if rng.random() < 0.5 else 0.0,
    )


def vary(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    """The named colour, a little off, as paint is."""
    r, g, b = (int(np.clip(c + d, 18, 250)) for c, d in zip(PAINTS[colour], rng.integers(-13, 14, 3), strict=True))
    return r, g, b


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Area shared by two boxes as a share of the smaller one."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def scene(seed: int, size: tuple[int, int] | None = None) -> Scene:
    """The scene of `seed`, drawn at `size` (width, height) px or at a size of its own, 256 to 768 px a side."""
    planned = plan(seed)
    return draw(planned, size or own_size(planned))


def own_size(planned: Plan) -> tuple[int, int]:
    """Width and height in px at which the scene is drawn unless told otherwise."""
    low, high = SIDES
    short = int(
        np.random.default_rng([planned.seed, 29]).integers(low, int(high / max(planned.aspect, 1 / planned.aspect)) + 1)
    )
    return (round(short * planned.aspect), short) if planned.aspect >= 1 else (short, round(short / planned.aspect))


def draw(planned: Plan, size: tuple[int, int]) -> Scene:
    """Draw a plan at `size` (width, height) px."""
    width, height = size
    canvas = Image.fromarray(backdrop(planned, width, height))
    drawn = [(thing, stand(canvas, thing, planned)) for thing in planned.things]
    visible = np.zeros((height, width), np.uint8)
    things: list[Thing] = []
    for thing, alpha in reversed(drawn):
        seen = np.minimum(alpha, 255 - visible)
        visible = np.maximum(visible, alpha)
        things.append(Thing(thing.kind, thing.colour, seen, bounds(seen)))
    return Scene(np.asarray(canvas), tuple(reversed(things)), planned.place)


def stand(canvas: Image.Image, thing: Placed, planned: Plan, on: np.ndarray | None = None) -> np.ndarray:
    """Draw a thing and its shadow on `canvas`, in front of all that is there; returns its alpha, uint8 [H, W].

    `on`, uint8 [H, W], is the alpha of what it stands on, where that is not the ground: its shadow falls on nothing
    else.
    """
    patch, corner = _patch(thing, planned.light, *canvas.size)
    if planned.place != CUT_OUT:
        _cast_shadow(canvas, thing, planned.light, on)
    canvas.paste(patch, corner, patch)
    alpha = Image.new("L", canvas.size)
    alpha.paste(patch.getchannel("A"), corner)
    return np.asarray(alpha)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box (x0, y0, x1, y1) of the pixels of a uint8 mask that are at least half covered."""
    ys, xs = np.where(mask.max(1) >= 128)[0], np.where(mask.max(0) >= 128)[0]
    if not len(ys):
        return (0, 0, 0, 0)
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _patch(thing: Placed, light: tuple[float, float], width: int, height: int) -> tuple[Image.Image, tuple[int, int]]:
    x0, y0, x1, y1 = thing.box
    w, h = max(8, round((x1 - x0) * width)), max(8, round((y1 - y0) * height))
    patch = draw_object(thing.kind, thing.paint, w, h, flip=thing.flip, tilt=thing.tilt, light=light)
    return patch, (round(x0 * width) - (patch.width - w) // 2, round(y0 * height) - (patch.height - h) // 2)


def _cast_shadow(canvas: Image.Image, thing: Placed, light: tuple[float, float], on: np.ndarray | None) -> None:
    """A soft dark ellipse at the thing's foot, a little away from the light."""
    (width, height), (x0, y0, x1, y1) = canvas.size, thing.box
    w, h = (x1 - x0) * width, max(3.0, 0.1 * (y1 - y0) * height)
    blur = max(1.0, float(h) * 0.3)
    pad = int(3 * blur) + 1
    size = (int(w * 1.02) + 2 * pad, int(h) + 2 * pad)
    grid_y, grid_x = np.mgrid[0 : size[1], 0 : size[0]]
    inside = ((grid_x - size[0] / 2) / (w * 0.51)) ** 2 + ((grid_y - size[1] / 2) / (h * 0.5)) ** 2 <= 1
    shadow = Image.fromarray((inside * 120).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    corner = (
        round((x0 + x1) / 2 * width - size[0] / 2 - light[0] * w * 0.06),
        round(y1 * height - size[1] / 2),
    )
    if on is not None:
        here = Image.fromarray(on).crop((*corner, corner[0] + size[0], corner[1] + size[1]))
        shadow = ImageChops.multiply(shadow, here)
    canvas.paste((22, 22, 30), corner, shadow)


def phrase(thing: Thing | Placed) -> str:
    """How the world's captions name a thing: "red car"."""
    return f"{thing.colour} {thing.kind}"


def side_of(thing: Thing, width: int) -> str:
    """ "left" or "right", by the middle of the thing's box."""
    return "left" if thing.box[0] + thing.box[2] < width else "right"
