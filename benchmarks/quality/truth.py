"""What an edit should have made of a scene, from the renderer, and the regions in which pictures are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality.cases import Case
from export.demo import world
from serving.imaging.morphology import dilate

Rgb = tuple[int, int, int]
Box = tuple[float, float, float, float]

DARK, BRIGHT = (24, 24, 24), (248, 248, 248)
"""What looks the same in the further one of these paints is not paint."""
COVERED = 250
"""A pixel of the thing's mask from here on is the thing's alone."""
MARGIN_SHARE = 0.05
"""How far from both things, as a share of the room's shorter side, a pixel is surely background."""


@dataclass(frozen=True)
class Truth:
    """The true pictures of a case, each uint8 [H, W, 3], and regions of it, each bool [H, W]."""

    case: Case

    def repainted(self, paint: Rgb) -> np.ndarray:
        """The same scene, the thing in another paint."""
        return self._drawn(replace(self._old, paint=paint)).image

    @cached_property
    def emptied(self) -> np.ndarray:
        """The same scene without the thing and its shadow."""
        return world.draw(self.case.plan.without(self.case.index), self.case.size).image

    def replaced(self, kind: str, paint: Rgb) -> tuple[np.ndarray, world.Thing]:
        """The same scene with another thing where the old one stood; and that thing."""
        scene = self._drawn(replace(self._fitted(kind, 0.92), paint=paint))
        return scene.image, scene.things[self.case.index]

    @cached_property
    def paint(self) -> np.ndarray:
        """What of the thing changes with its paint."""
        return self._covered & (self._spread > 8)

    @cached_property
    def fixed(self) -> np.ndarray:
        """What of the thing looks the same whatever its paint: tyres, windows, a trunk."""
        return self._covered & (self._spread == 0)

    @cached_property
    def shadow(self) -> np.ndarray:
        """How much darker the shadow makes the picture where nothing of the thing is seen: float32 [H, W], 0 … 255."""
        darker = luminance(self.emptied) - luminance(self.case.scene.image)
        return np.where(self.case.thing.mask == 0, np.maximum(darker, 0), 0)

    @property
    def traces(self) -> np.ndarray:
        """Wherever the thing or its shadow changed the picture."""
        return (self.case.scene.image != self.emptied).any(-1)

    def corners(self, kind: str) -> np.ndarray:
        """Background in the upper corners of the room in which a new thing of `kind` is painted.

        Far from the old thing, its shadow, and the new one, however large and whichever way it faces. It follows from
        the scene and not from the server's mask, so that painting less is seen as what it is.
        """
        width, height = self.case.size
        x0, y0, x1, y1 = (height * at for at in room(_scaled(self._old.box, self.case.plan.aspect)))
        short = min(x1 - x0, y1 - y0)
        inset = 0.04 * short  # the soft edge of a mask, which is blended
        inner = Image.new("L", (width, height))
        box = (x0 + inset, y0 + inset, x1 - inset, y1 - inset)
        ImageDraw.Draw(inner).rounded_rectangle(box, radius=0.15 * short, fill=255)
        x, y = np.arange(width)[None, :], np.arange(height)[:, None]
        near = 0.3 * short
        corner = (np.asarray(inner) > 0) & (y < y0 + near) & ((x < x0 + near) | (x >= x1 - near))
        largest = self._fitted(kind, 1.0)
        both_ways = replace(self.case.plan, things=(largest, replace(largest, flip=not largest.flip)))
        new = [thing.mask > 0 for thing in world.draw(both_ways, self.case.size).things]
        touched = self.traces | np.logical_or(*new)
        return corner & ~dilate(touched, max(3, round(MARGIN_SHARE * short)))

    @property
    def _old(self) -> world.Placed:
        return self.case.plan.things[self.case.index]

    def _fitted(self, kind: str, scale: float) -> world.Placed:
        """A thing of `kind` on the old one's footing, `scale` of the largest for which there is room."""
        aspect, shape = self.case.plan.aspect, world.DRAWINGS[kind].aspect
        x0, top, x1, _ = room(_scaled(self._old.box, aspect))
        foot = self._old.box[3]
        tall = scale * min(foot - top, (x1 - x0) / shape)
        middle, half = (x0 + x1) / 2, tall * shape / 2
        box = ((middle - half) / aspect, foot - tall, (middle + half) / aspect, foot)
        return replace(self._old, kind=kind, box=box)

    def _drawn(self, thing: world.Placed) -> world.Scene:
        things = list(self.case.plan.things)
        things[self.case.index] = thing
        return world.draw(replace(self.case.plan, things=tuple(things)), self.case.size)

    @cached_property
    def _spread(self) -> np.ndarray:
        """How far a very different paint changes each pixel: int16 [H, W]."""
        paint = self._old.paint
        other = self.repainted(DARK if sum(paint) > sum(BRIGHT) / 2 else BRIGHT)
        return np.abs(other.astype(np.int16) - self.case.scene.image).max(-1)

    @property
    def _covered(self) -> np.ndarray:
        return self.case.thing.mask >= COVERED


def room(box: Box) -> Box:
    """The box, in any unit that is the same in x and y, that a thing of another shape may take in place of `box`."""
    x0, y0, x1, y1 = box
    width, height = 1.2 * (x1 - x0), 1.24 * (y1 - y0)
    height = max(height, width / 1.35)
    width = max(width, 0.75 * height)
    middle, foot = (x0 + x1) / 2, y1 + 0.115 * height
    return middle - width / 2, foot - height, middle + width / 2, foot


def _scaled(box: Box, aspect: float) -> Box:
    """A planned box in units of the frame's height."""
    return box[0] * aspect, box[1], box[2] * aspect, box[3]


def luminance(image: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of uint8 [H, W, 3]: float32 [H, W], 0 … 255."""
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
