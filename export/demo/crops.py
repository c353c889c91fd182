"""What the demo's diffusion model learns from: 192 px crops, a hole in each, and what belongs in the hole.

A crop is what the server would see: the hole is the server's own edit mask of an object's outline, so it never tells
what fills it, and the crop is chosen and shrunk by the server's functions. Outside the hole lies the picture before
the edit, with what a mask may leave of an old thing's shadow; inside it the scene after the edit, with its shadows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from export.demo import captions, world
from export.demo.backdrop import CUT_OUT
from export.demo.objects import KINDS
from export.demo.plans import Placed, Plan
from serving.imaging.crop import Crop, choose_crop
from serving.imaging.morphology import dilate, erode
from serving.imaging.picture import Picture
from serving.segmentation.edit_mask import edit_mask, edit_masks

SIZE = 192
NO_OTHERS = np.zeros((1, 1), bool)
"""Things like the one meant that shall stay: in a crop there are none."""
SHARES = {"replace": 0.46, "remove": 0.17, "add": 0.15, "background": 0.14, "recolour": 0.08}
"""How many crops show which kind of edit."""
CUT_OUTS = 0.06
"""The share of edits, backgrounds apart, in cut-outs on white: pictures whose alpha follows the object."""
STANDS_ON = 0.35
"""The share of added things that stand on another thing, where one has a top to stand on."""
FRAME_SIDE = 288
"""Whole frames are drawn at most so many px long: nothing in them is seen larger than it is drawn."""


@dataclass(frozen=True)
class Example:
    """`image` is uint8 [192, 192, 3], `mask` bool [192, 192] (true: to be filled), `caption` what fills it.

    `kind` and `colour` are of the thing inside the hole; None where nothing stands there.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str
    intent: str
    kind: str | None
    colour: str | None


@dataclass(frozen=True)
class Drawn:
    """An edit at the size of its scene: the pictures before and after, uint8 [H, W, 3], and the mask, [H, W]."""

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    caption: str
    thing: Placed | None = None


def example(seed: int) -> Example:
    """The training crop of `seed`."""
    rng = np.random.default_rng([seed, 61])
    intent = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    planned = world.plan(seed, count=int(rng.choice([1, 2, 2, 3])))
    if intent != "background" and rng.random() < CUT_OUTS:
        planned = replace(planned, place=CUT_OUT)
    drawn = EDITS[intent](rng, planned)
    before, after = (Picture("RGB", picture) for picture in (drawn.before, drawn.after))
    window = _frame(rng, drawn.mask) if intent == "background" else choose_crop(drawn.mask, SIZE)
    old, new = (window.cut(picture, drawn.mask) for picture in (before, after))
    image = np.where(old.hole[..., None], new.image, old.image).astype(np.uint8)
    names = (drawn.thing.kind, drawn.thing.colour) if drawn.thing else (None, None)
    return Example(image, old.hole, drawn.caption, intent, *names)


def _replace(rng: np.random.Generator, planned: Plan) -> Drawn:
    """Another thing where one of the scene stood; what else stood in the way is gone before and after."""
    old, others = _choose(rng, planned)
    before, _, outline = _before_and_after(planned, others, old, None)
    hole = _hole(rng, before, outline, "replace")
    new = _fitting(rng, planned, hole, old)
    before, after, _ = _before_and_after(planned, _beside(others, hole), old, new)
    return Drawn(before, after, hole, captions.of_thing(rng, new), new)


def _recolour(rng: np.random.Generator, planned: Plan) -> Drawn:
    old, others = _choose(rng, planned)
    colour = str(rng.choice(world.COLOURS))
    new = replace(old, colour=colour, paint=world.vary(rng, colour))
    before, after, outline = _before_and_after(planned, others, old, new)
    return Drawn(before, after, _hole(rng, before, outline, "recolour"), captions.of_thing(rng, new), new)


def _remove(rng: np.random.Generator, planned: Plan) -> Drawn:
    """The same scene without one of its things and that thing's shadow."""
    old, others = _choose(rng, planned)
    before, after, outline = _before_and_after(planned, others, old, None)
    return Drawn(before, after, _hole(rng, before, outline, "remove"), captions.EMPTY)


def _add(rng: np.random.Generator, planned: Plan) -> Drawn:
    """A thing that was not there, on the ground or on top of another, with its shadow."""
    bases = [thing for thing in planned.things if KINDS[thing.kind].top]
    if bases and rng.random() < STANDS_ON:
        base = bases[rng.integers(len(bases))]
        new, room = _on_top(rng, base, planned)
        things = (*(thing for thing in planned.things if thing is not base), base)
    else:
        base, new, room = None, None, world.place_thing(rng, planned.aspect, planned.horizon)
        things = planned.things
    size = world.own_size(planned)
    hole = edit_mask(_rectangle(room, size), "replace")
    if new is None:
        new, things = _fitting(rng, planned, hole, room), _beside(things, hole)
    before = _canvas(replace(planned, things=things), size)
    after = before.copy()
    world.stand(after, new, planned, _outline(base, planned, size) if base else None)
    return Drawn(np.asarray(before), np.asarray(after), hole, captions.of_thing(rng, new), new)


def _background(rng: np.random.Generator, planned: Plan) -> Drawn:
    """One thing stays, and all around it becomes another place, with the thing's shadow on its ground."""
    subject, _ = _choose(rng, planned)
    horizon = float(rng.uniform(0.36, max(0.37, min(0.56, subject.box[3] - 0.08))))
    elsewhere = replace(
        planned, place=str(rng.choice(world.PLACES)), horizon=horizon, seed=int(rng.integers(world.HELD_OUT))
    )
    width, height = world.own_size(planned)
    scale = min(1.0, FRAME_SIDE / max(width, height))
    size = (round(width * scale), round(height * scale))
    before, after = (_canvas(replace(each, things=()), size) for each in (planned, elsewhere))
    outline = world.stand(before, subject, planned)
    world.stand(after, subject, elsewhere)
    hole = 255 - _as_found(rng, outline)
    return Drawn(np.asarray(before), np.asarray(after), hole, captions.of_place(rng, elsewhere.place, subject))


EDITS: dict[str, Callable[[np.random.Generator, Plan], Drawn]] = {
    "replace": _replace,
    "remove": _remove,
    "add": _add,
    "background": _background,
    "recolour": _recolour,
}


def _frame(rng: np.random.Generator, mask: np.ndarray) -> Crop:
    """The whole frame with what the server pads it by, or the square of its shorter side around what stays."""
    height, width = mask.shape
    if rng.random() < 0.5:
        return choose_crop(mask, SIZE)
    x0, y0, x1, y1 = world.bounds(255 - mask)
    side = min(width, height)
    x, y = (
        int(np.clip(middle - side // 2, 0, end - side))
        for middle, end in (((x0 + x1) // 2, width), ((y0 + y1) // 2, height))
    )
    return Crop(x, y, side, SIZE, (width, height), (0, 0, width, height))


def _choose(rng: np.random.Generator, planned: Plan) -> tuple[Placed, tuple[Placed, ...]]:
    """A thing of the scene, and the others."""
    n = int(rng.integers(len(planned.things)))
    return planned.things[n], planned.without(n).things


def _canvas(planned: Plan, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(world.draw(planned, size).image)


def _outline(thing: Placed, planned: Plan, size: tuple[int, int]) -> np.ndarray:
    """The thing's alpha where nothing stands before it, uint8 [H, W]."""
    return world.stand(Image.new("RGB", size), thing, planned)


def _before_and_after(
    planned: Plan, others: tuple[Placed, ...], old: Placed, new: Placed | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scene with `old` in front of `others`, the same with `new`, and the outline of `old`."""
    planned = replace(planned, things=others)
    before = _canvas(planned, world.own_size(planned))
    after = before.copy()
    outline = world.stand(before, old, planned)
    if new is not None:
        world.stand(after, new, planned)
    return np.asarray(before), np.asarray(after), outline


def _as_found(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """An outline as a segmenter sees it: some px too wide or too narrow."""
    reach, solid = int(rng.integers(-2, 4)), outline >= 128
    found = dilate(solid, reach) if reach > 0 else erode(solid, -reach) if reach < 0 else solid
    return (found if found.any() else solid).astype(np.uint8) * 255


def _hole(rng: np.random.Generator, before: np.ndarray, outline: np.ndarray, intent: str) -> np.ndarray:
    """The server's mask for an edit of what `outline` shows in the picture, both uint8 [H, W]."""
    return edit_masks(Picture("RGB", before), _as_found(rng, outline), NO_OTHERS, intent)[0]


def _fitting(rng: np.random.Generator, planned: Plan, hole: np.ndarray, old: Placed) -> Placed:
    """A new thing as large as fits into the hole, uint8 [H, W], standing where the old one stood."""
    x0, y0, x1, _ = (at / hole.shape[0] for at in world.bounds(hole))
    a = hole.shape[1] / hole.shape[0]
    thing = world.place_thing(rng, planned.aspect, planned.horizon)
    aspect, scale = KINDS[thing.kind].aspect * rng.uniform(0.94, 1.06), rng.uniform(0.84, 0.95)
    foot = old.box[3] + rng.uniform(-0.03, 0.01) * (old.box[3] - old.box[1])
    middle = (old.box[0] + old.box[2]) / 2 * a
    wide = 2 * min(middle - x0, x1 - middle)
    tall = min((foot - y0) * 0.97, wide / aspect) * scale
    wide = tall * aspect
    middle += rng.uniform(-0.5, 0.5) * (1 - scale) * wide
    return replace(thing, box=((middle - wide / 2) / a, foot - tall, (middle + wide / 2) / a, foot))


def _on_top(rng: np.random.Generator, base: Placed, planned: Plan) -> tuple[Placed, Placed]:
    """A thing on top of `base`, and the room for it, whose shape does not tell what it is."""
    top = KINDS[base.kind].top
    if top is None:
        raise ValueError(f"nothing can stand on a {base.kind}")
    x0, y0, x1, y1 = base.box
    left, right = (x0 + (1 - at if base.flip else at) * (x1 - x0) for at in top[:2])
    foot, middle = y0 + top[2] * (y1 - y0), (left + right) / 2
    thing = world.place_thing(rng, planned.aspect, planned.horizon)
    aspect = KINDS[thing.kind].aspect / planned.aspect
    tall = min(abs(right - left) * rng.uniform(0.7, 1.0) / aspect, foot - 0.01)
    wide, high = tall * aspect, tall * rng.uniform(1.0, 1.4)
    across = max(wide, high / planned.aspect * rng.uniform(0.6, 1.2))
    room = (middle - across / 2, foot - high, middle + across / 2, foot)
    return replace(thing, box=(middle - wide / 2, foot - tall, middle + wide / 2, foot)), replace(thing, box=room)


def _rectangle(thing: Placed, size: tuple[int, int]) -> np.ndarray:
    """The thing's box, uint8 [H, W]."""
    image = Image.new("L", size)
    x0, y0, x1, y1 = thing.box
    image.paste(255, (round(x0 * size[0]), round(y0 * size[1]), round(x1 * size[0]), round(y1 * size[1])))
    return np.asarray(image)


def _beside(things: tuple[Placed, ...], hole: np.ndarray) -> tuple[Placed, ...]:
    """Those of `things` that hardly reach into the hole, uint8 [H, W]."""
    height, width = hole.shape
    x0, y0, x1, y1 = world.bounds(hole)
    frame = (x0 / width, y0 / height, x1 / width, y1 / height)
    return tuple(thing for thing in things if world.overlap(thing.box, frame) < 0.12)
