"""Operations on small arrays that compositing is made of: growing, smoothing, filling in."""

from functools import lru_cache

import numpy as np
from PIL import Image

RELAXATIONS = 6


def window_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean of `values`, [H, W] or [H, W, C], over squares of 2·radius + 1 px, cut off at the border."""
    return _running_mean(_running_mean(values, radius, 0), radius, 1)


def smooth(values: np.ndarray, radius: int) -> np.ndarray:
    """A near-Gaussian blur of standard deviation about `radius` px: `window_mean` three times over.

    As two products of matrices, which for canvases is several times faster than running sums.
    """
    height, width = values.shape[:2]
    planes = np.ascontiguousarray(np.moveaxis(values.reshape(height, width, -1), 2, 0), np.float32)
    means = _blur(height, radius) @ (planes @ np.ascontiguousarray(_blur(width, radius).T))
    return np.moveaxis(means, 0, 2).reshape(values.shape)


def grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """A bool mask dilated by about a disc of `radius` px: squares and diamonds by turns."""
    for i in range(radius):
        rows, columns = _spread(mask, 0), _spread(mask, 1)
        mask = rows | columns if i % 2 else _spread(rows, 1)
    return mask


def shrink(mask: np.ndarray, radius: int) -> np.ndarray:
    """A bool mask eroded by about a disc of `radius` px; the border does not erode."""
    return ~grow(~mask, radius)


def reach(seeds: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The pixels of the bool mask `ground` that are connected to `seeds` through it, side by side."""
    reached = seeds & ground
    while True:
        wider = reached
        for _ in range(8):
            wider = (_spread(wider, 0) | _spread(wider, 1)) & ground
        if wider.sum() == reached.sum():
            return reached
        reached = wider


def filled(mask: np.ndarray) -> np.ndarray:
    """A bool mask without holes: what the border cannot reach belongs to it."""
    border = np.ones(mask.shape, bool)
    border[1:-1, 1:-1] = False
    return ~reach(border, ~mask)


def membrane(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`values`, float [H, W, C], kept where the bool mask `known` holds and smoothly filled in elsewhere.

    An approximate solution of Laplace's equation from coarse to fine; 0 everywhere when nothing is known.
    """
    if not known.any():
        return np.zeros_like(values)
    if known.all():
        return values
    height, width, channels = values.shape
    weight = np.pad(known, ((0, height % 2), (0, width % 2))).astype(np.float32)[..., None]
    total = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0))) * weight
    weight, total = _halved(weight), _halved(total)
    coarse = membrane(total / np.maximum(weight, 1), weight[..., 0] > 0)
    guess = np.stack([
        np.asarray(Image.fromarray(np.ascontiguousarray(coarse[..., c], np.float32)).resize(
            (width + width % 2, height + height % 2), Image.Resampling.BILINEAR))[:height, :width]
        for c in range(channels)
    ], axis=-1)  # fmt: skip
    around = np.empty((height + 2, width + 2, channels), np.float32)
    result, open_ = around[1:-1, 1:-1], ~known[..., None]
    result[...] = np.where(open_, guess, values)
    for _ in range(RELAXATIONS):
        around[0], around[-1] = around[1], around[-2]
        around[:, 0], around[:, -1] = around[:, 1], around[:, -2]
        mean = around[:-2, 1:-1] + around[2:, 1:-1]
        mean += around[1:-1, :-2]
        mean += around[1:-1, 2:]
        mean *= np.float32(0.25)
        np.copyto(result, mean, where=open_)
    return result.copy()


def _running_mean(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    count = values.shape[axis]
    sums = np.cumsum(values, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    low = np.maximum(np.arange(count) - radius, 0)
    high = np.minimum(np.arange(count) + radius + 1, count)
    lengths = (high - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return ((np.take(sums, high, axis) - np.take(sums, low, axis)) / lengths).astype(np.float32)


@lru_cache(8)
def _blur(count: int, radius: int) -> np.ndarray:
    """float32 [count, count]: times a column of values, its three running means."""
    index = np.arange(count)
    near = (np.abs(index[:, None] - index) <= radius).astype(np.float64)
    return np.linalg.matrix_power(near / near.sum(axis=1, keepdims=True), 3).astype(np.float32)


def _spread(mask: np.ndarray, axis: int) -> np.ndarray:
    wider = mask.copy()
    if axis == 0:
        wider[1:] |= mask[:-1]
        wider[:-1] |= mask[1:]
    else:
        wider[:, 1:] |= mask[:, :-1]
        wider[:, :-1] |= mask[:, 1:]
    return wider


def _halved(values: np.ndarray) -> np.ndarray:
    height, width, channels = values.shape
    return values.reshape(height // 2, 2, width // 2, 2, channels).sum(axis=(1, 3))
