"""A probability map cut into regions: connected components, their crumbs gathered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]

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
    labels, count = components(probability >= threshold)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-areas, kind="stable")[:MOST] + 1
    boxes = {label: _box(labels == label) for label in largest}
    groups: list[list[int]] = []
    for label in largest:
        home = None
        if areas[label - 1] < CRUMB_SHARE * areas[largest[0] - 1]:
            home = _nearest(boxes[label], [boxes[group[0]] for group in groups], CRUMB_REACH * max(labels.shape))
        if home is None:
            groups.append([label])
        else:
            groups[home].append(label)
    masks = [np.isin(labels, group) for group in groups]
    return [region(mask, probability) for mask in masks if mask.sum() >= LEAST_SHARE * mask.size]


def region(mask: np.ndarray, probability: np.ndarray) -> Region:
    """The region of a mask, bool [h, w], that is not empty."""
    return Region(mask, _box(mask), float(probability[mask].mean()))


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the 8-connected components of a bool [h, w] mask: int32 [h, w] with 0 outside, and their number.

    Runs of each row are joined to the runs they touch in the row above (union-find over runs).
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    parents = list(range(len(rows)))
    above: list[int] = []
    row_starts = np.searchsorted(rows, np.arange(mask.shape[0] + 1)).tolist()
    first, last = starts.tolist(), ends.tolist()
    for y in range(mask.shape[0]):
        here = list(range(row_starts[y], row_starts[y + 1]))
        _join(above, here, first, last, parents)
        above = here
    roots = np.array([_root(parents, run) for run in range(len(parents))], dtype=np.int64)
    kept, numbers = np.unique(roots, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(numbers + 1, ends - starts)
    return labels, len(kept)


def _join(above: list[int], here: list[int], first: list[int], last: list[int], parents: list[int]) -> None:
    i = j = 0
    while i < len(above) and j < len(here):
        a, b = above[i], here[j]
        if first[a] <= last[b] and first[b] <= last[a]:
            parents[_root(parents, b)] = _root(parents, a)
        if last[a] < last[b]:
            i += 1
        else:
            j += 1


def _root(parents: list[int], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


def _box(mask: np.ndarray) -> Box:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _nearest(box: Box, others: list[Box], reach: float) -> int | None:
    """The index of the box that is nearest, if any is within `reach`."""
    gaps = [max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3]) for other in others]
    nearest = min(range(len(gaps)), key=gaps.__getitem__, default=None)
    return nearest if nearest is not None and gaps[nearest] <= reach else None
