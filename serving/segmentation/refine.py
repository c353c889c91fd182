"""What a segmenter says of a window of the picture, and the closer look that confirms or denies a region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from serving.imaging.morphology import dilate
from serving.segmentation.regions import Box, Region, region

CLOSER = 1.7
"""Side of a closer look over the longest side of what it looks at."""
NARROWEST_LOOK = 32
"""No look is at fewer px a side: there would be little but blur to see."""
REACHED = 0.05
"""A share of a region's area: what is connected in a closer look to so much of two joins them."""
GROWTH, CONFIRMED = 0.2, 0.3
"""A closer look may add this share of a region's longest side; one that finds less of its area denies it."""


@dataclass(frozen=True)
class Look:
    """The network's `logits`, float [h, w], of a window of the picture: (x0, y0, x1, y1) in px."""

    logits: np.ndarray
    window: Box

    @property
    def cell(self) -> float:
        """The longer side of one of the map's pixels, in px of the picture."""
        x0, y0, x1, y1 = self.window
        return max((x1 - x0) / self.logits.shape[1], (y1 - y0) / self.logits.shape[0])

    def part(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """The logits of `box`, in the picture's px and inside the window, at `size` (width, height)."""
        x0, y0, x1, y1 = self.window
        across, down = self.logits.shape[1] / (x1 - x0), self.logits.shape[0] / (y1 - y0)
        inner = ((box[0] - x0) * across, (box[1] - y0) * down, (box[2] - x0) * across, (box[3] - y0) * down)
        return resize(self.logits, size, inner)

    def likely(self, shape: tuple[int, ...], scale: tuple[float, float]) -> np.ndarray:
        """The probability on a map [h, w] of the whole picture, 0 outside the window; `scale` is map px a px."""
        x0, y0, x1, y1 = (round(v) for v in scaled(self.window, *scale))
        everywhere = np.zeros(shape, np.float32)
        everywhere[y0:y1, x0:x1] = sigmoid(resize(self.logits, (x1 - x0, y1 - y0)))
        return everywhere


def closer_window(box: Box, scale: tuple[float, float], size: tuple[int, int]) -> Box | None:
    """A square around `box` of a map, in px of the picture of `size`; None where the picture is hardly larger.

    `scale` is px of the map a px of the picture, across and down.
    """
    x0, y0, x1, y1 = scaled(box, 1 / scale[0], 1 / scale[1])
    side = math.ceil(max(CLOSER * max(x1 - x0, y1 - y0), NARROWEST_LOOK))
    if side > min(size):
        return None
    left = min(max(round((x0 + x1 - side) / 2), 0), size[0] - side)
    top = min(max(round((y0 + y1 - side) / 2), 0), size[1] - side)
    return left, top, left + side, top + side


def confirm(coarse: Region, others: list[Region], likely: np.ndarray, threshold: float) -> Region | None:
    """The region as a closer look shows it (`likely`, float [h, w]); None where that shows too little of it."""
    longest = max(coarse.box[2] - coarse.box[0], coarse.box[3] - coarse.box[1])
    near = dilate(coarse.mask, max(3, round(GROWTH * longest)))
    for other in others:
        near &= ~other.mask
    mask = (likely >= threshold) & near
    return region(mask, likely) if mask.sum() >= CONFIRMED * coarse.area else None


def rejoin(regions: list[Region], looks: list[np.ndarray], threshold: float) -> list[Region]:
    """The regions, those in one that closer looks show to be pieces of one thing: a lamp whose stem hardly shows.

    `looks` are their probabilities from near, float32 [h, w]. Two belong together where what is connected in the look
    at one of them reaches well into both.
    """
    home = list(range(len(regions)))
    for likely in looks:
        count, labels = cv2.connectedComponents((likely >= threshold).view(np.uint8), connectivity=8)
        shares = np.stack([np.bincount(labels[each.mask], minlength=count) / each.area for each in regions])
        for reached in (shares[:, 1:] >= REACHED).T:
            first, *rest = np.flatnonzero(reached).tolist() or [0]
            home = [home[first] if at in {home[n] for n in rest} else at for at in home]
    groups = [[n for n, at in enumerate(home) if at == where] for where in dict.fromkeys(home)]
    return [regions[group[0]] if len(group) == 1 else _union([regions[n] for n in group]) for group in groups]


def _union(pieces: list[Region]) -> Region:
    mask = np.logical_or.reduce([piece.mask for piece in pieces])
    x0, y0, x1, y1 = np.array([piece.box for piece in pieces]).T
    score = sum(piece.score * piece.area for piece in pieces) / mask.sum()
    return Region(mask, (int(x0.min()), int(y0.min()), int(x1.max()), int(y1.max())), float(score))


def resize(
    values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """float32 [h, w], or its `box`, at `size` (width, height), bicubic."""
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.array(image.resize(size, Image.Resampling.BICUBIC, box))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def scaled(box: Box, across: float, down: float) -> tuple[float, float, float, float]:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down
