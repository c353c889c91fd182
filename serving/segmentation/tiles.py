"""A long picture seen in overlapping tiles, and what a network says of each joined into one map."""

from __future__ import annotations

import math

import numpy as np

from serving.segmentation.refine import resize
from serving.segmentation.regions import LONG, Box

TILE = 1.5
"""Length of a tile over its width, as long as MOST tiles suffice."""
MOST = 16
"""So many tiles at most; of a still longer picture each is longer."""


def tiles(size: tuple[int, int]) -> list[Box]:
    """Windows, in px, that cover a picture of `size` along its longer side, each half over the next.

    The whole picture alone where it is not long: longer ones would be squeezed too much to be seen whole.
    """
    width, height = size
    if max(size) <= LONG * min(size):
        return [(0, 0, width, height)]
    count = min(MOST, math.ceil(2 * max(size) / (TILE * min(size)) - 1))
    edges = [round(place * max(size) / (count + 1)) for place in range(count + 2)]
    spans = list(zip(edges, edges[2:], strict=False))
    return [(a, 0, b, height) if width > height else (0, a, width, b) for a, b in spans]


def join(logits: np.ndarray, windows: list[Box]) -> np.ndarray:
    """One map of the whole picture from the `logits`, float [n, h, w], of its `windows`, as tiles() gives them.

    Its cells are as large as the tiles'; where two tiles overlap, the one whose middle is nearer weighs more.
    """
    if len(windows) == 1:
        return logits[0]
    *_, right, bottom = windows[-1]
    if right < bottom:
        turned = [(y0, x0, y1, x1) for x0, y0, x1, y1 in windows]
        return np.ascontiguousarray(join(logits.transpose(0, 2, 1), turned).T)
    count, rows, columns = logits.shape
    long = round(columns * (count + 1) / 2)
    total, weight = np.zeros((rows, long), np.float32), np.zeros(long, np.float32)
    for row, (x0, _, x1, _) in zip(logits, windows, strict=True):
        start, end = round(x0 * long / right), round(x1 * long / right)
        middle = 1e-3 + 1 - np.abs(np.linspace(-1, 1, end - start, dtype=np.float32))
        total[:, start:end] += middle * resize(row, (end - start, rows))
        weight[start:end] += middle
    return total / weight
