"""A coarse mask made to follow the picture's own edges."""

from __future__ import annotations

import numpy as np

from serving.fields import window_mean

EPSILON = 4e-4
"""Variance of colour, of 1, below which a window counts as flat."""


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float = EPSILON) -> np.ndarray:
    """Smooth `values`, float [h, w], along the edges of `guide`, float [h, w, 3] in 0 … 1.

    In windows of 2 · radius + 1 px the result is a linear function of the guide's colour (He, Sun, Tang,
    "Guided Image Filtering", ECCV 2010). The cost does not depend on the radius.
    """
    h, w = values.shape
    means = window_mean(np.concatenate([guide, values[..., None]], axis=2), radius)
    colour, value = means[..., :3], means[..., 3]
    upper = [(i, j) for i in range(3) for j in range(i, 3)]
    products = [guide[..., i] * guide[..., j] for i, j in upper] + [guide[..., i] * values for i in range(3)]
    mixed = window_mean(np.stack(products, axis=2), radius)
    covariance = np.empty((h, w, 3, 3), np.float32)
    for k, (i, j) in enumerate(upper):
        covariance[..., i, j] = covariance[..., j, i] = mixed[..., k] - colour[..., i] * colour[..., j]
    shared = mixed[..., 6:] - colour * value[..., None]
    covariance[..., range(3), range(3)] += epsilon
    slope = _solve(covariance, shared)
    offset = value - (slope * colour).sum(2)
    lines = window_mean(np.concatenate([slope, offset[..., None]], axis=2), radius)
    return np.clip((lines[..., :3] * guide).sum(2) + lines[..., 3], 0, 1)


def _solve(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x of `matrices` · x = `right`, symmetric [h, w, 3, 3] and [h, w, 3]: cofactors, tenfold faster than LAPACK."""
    a, b, c = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 0, 2]
    d, e, f = matrices[..., 1, 1], matrices[..., 1, 2], matrices[..., 2, 2]
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * aa + b * ab + c * ac
    x, y, z = right[..., 0], right[..., 1], right[..., 2]
    solved = np.stack([aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z], axis=2)
    return solved / determinant[..., None]
