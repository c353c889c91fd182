"""How near a picture comes to another: the measures behind the figures, on arrays alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.truth import luminance

ROUNDING = 1 / 12
"""The mean square of what rounding to whole values costs: no difference between two 8-bit pictures counts as less."""


def psnr(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB, of uint8 [H, W, 3] within bool [H, W]; 58.9 for pictures that are equal."""
    error = np.mean((a[region].astype(np.float64) - b[region]) ** 2)
    return float(10 * np.log10(255**2 / max(error, ROUNDING)))


def gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The luma's slope down and across, float32 [H, W] each, of uint8 [H, W, 3]."""
    down, across = np.gradient(luminance(image))
    return down, across


def gradient_correlation(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    """Pearson's correlation of both pictures' slopes, direction and all, within bool [H, W]: −1 … 1."""
    one, two = (np.concatenate([slope[region] for slope in gradient(image)]) for image in (a, b))
    one, two = one - one.mean(), two - two.mean()
    return float((one * two).sum() / max(float(np.linalg.norm(one) * np.linalg.norm(two)), 1e-9))


def sharpness(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    """How steep the steepest edges of `a` are over those of `b`: the 97th percentile of the gradient's size."""
    one, two = (np.percentile(np.hypot(*gradient(image))[region], 97) for image in (a, b))
    return float(one / max(two, 1e-9))


def shadow_left(after: np.ndarray, emptied: np.ndarray, shadow: np.ndarray) -> float:
    """The share of a shadow's energy that is left, where `shadow`, float [H, W], says how dark it was.

    Energy is the square of how much darker than the true empty place, uint8 [H, W, 3], a pixel is.
    """
    left = np.maximum(luminance(emptied) - luminance(after), 0)[shadow > 0]
    return float((left**2).sum() / (shadow[shadow > 0] ** 2).sum())


def area_under_curve(right: Sequence[float], wrong: Sequence[float]) -> float:
    """How often a right edit has a higher score than a wrong one, a tie counting a half: the ROC curve's area."""
    a, b = np.asarray(right)[:, None], np.asarray(wrong)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())
