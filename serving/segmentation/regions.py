"""A probability map cut into regions: connected components, their crumbs gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[int, int, int, int]

LONG = 2.0
"""A picture longer than this many times its shorter side is judged by parts of this length."""
LEAST_SHARE = 0.001
"""A region smaller than this share of the picture is no object: about one patch of a CLIPSeg."""
CRUMB_SHARE, CRUMB_REACH = 0.2, 0.04
"""A component below this share of the largest, nearer to another than this share of the longest side, is part of it."""

MOST = 64
"""More components than this are noise: only the largest are looked at."""


@dataclass(frozen=True)
class Region:
    """One connected thing: `mask` is bool [h, w], `box` (x0, y0, x1, y1), `score` its mean probability."""

    mask: np.ndarray
    box: Box
    score: float

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def middle(self) -> tuple[float, float]:
        """x and y of the middle of the box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def find_regions(probability: np.ndarray, threshold: float) -> list[Region]:
    """The regions where `probability`, float [h, w] in 0 … 1, reaches `threshold`, largest first."""
    above = (probability >= threshold).view(np.uint8)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    areas = facts[1:, cv2.CC_STAT_AREA]
    largest = np.argsort(-areas, kind="stable")[:MOST] + 1
    boxes = {label: _corners(facts[label, :4].tolist()) for label in largest}
    longest = min(max(above.shape), LONG * min(above.shape))
    least = LEAST_SHARE * longest * min(above.shape)
    groups: list[list[int]] = []
    for label in largest:
        home = None
        if areas[label - 1] < CRUMB_SHARE * areas[largest[0] - 1]:
            home = _nearest(boxes[label], [boxes[group[0]] for group in groups], CRUMB_REACH * longest)
        if home is None:
            groups.append([label])
        else:
            groups[home].append(label)
    masks = [np.isin(labels, group) for group in groups]
    return [region(mask, probability) for mask in masks if mask.sum() >= least]


def region(mask: np.ndarray, probability: np.ndarray) -> Region:
    """The region of a mask, bool [h, w], that is not empty."""
    return Region(mask, _corners(cv2.boundingRect(mask.view(np.uint8))), float(probability[mask].mean()))


def _corners(rectangle: Sequence[int]) -> Box:
    left, top, width, height = rectangle
    return left, top, left + width, top + height


def _nearest(box: Box, others: list[Box], reach: float) -> int | None:
    """The index of the box that is nearest, if any is within `reach`."""
    gaps = [max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3]) for other in others]
    nearest = min(range(len(gaps)), key=gaps.__getitem__, default=None)
    return nearest if nearest is not None and gaps[nearest] <= reach else None
