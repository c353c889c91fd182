"""Colours as people see them, in our own CIELAB (OpenCV's saves 0.04 ms a call, takes 71 ms to start, is off by 0.4),
and which colour word describes pixels."""

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np

Rgb = tuple[int, int, int]

LIGHTNESS_SHARE = 0.4
"""Light and shade change lightness most, so it counts less than hue when colours are compared."""
NEAR = 22.0
"""Distance in CIELAB, lightness discounted, at which a pixel counts 1/e as much for a colour word."""

FOREIGN = 14.0
"""Distance in CIELAB from which on a colour is another."""
SAMPLED = 512
"""So many colours stand for all that are around."""


def colour_shares(pixels: np.ndarray, words: Mapping[str, Rgb]) -> dict[str, float]:
    """How much of the pixels, uint8 [n, 3], each of the colour `words`, RGB in 0 … 255, describes."""
    seen = lab(pixels)
    away = {word: np.square(seen - _lab_of(rgb)).sum(1) for word, rgb in words.items()}
    return {word: float(np.exp(-distance / NEAR**2).mean()) + 1e-6 for word, distance in away.items()}


def colour_name(pixels: np.ndarray, words: Mapping[str, Rgb]) -> str:
    """The one of the colour `words` that describes the most of the pixels, uint8 [n, 3]."""
    shares = colour_shares(pixels, words)
    return max(shares, key=lambda word: shares[word])


def foreign_share(picture: np.ndarray, where: np.ndarray, known: np.ndarray, around: np.ndarray) -> float:
    """The share of the pixels of `picture`, uint8 [H, W, 3], at `where` whose colour is nowhere `around` in `known`.

    `where` and `around` are bool [H, W], `known` is of the picture's shape. Every second pixel and a sample of the
    colours are compared; 0 where either is empty.
    """
    whole = np.array([1 / LIGHTNESS_SHARE, 1, 1], np.float32)  # a grey thing on grey ground differs in lightness alone
    seen = lab(cv2.blur(picture, (3, 3))[::2, ::2][where[::2, ::2]]) * whole
    colours = np.clip(np.rint(known[around]), 0, 255).astype(np.uint8)
    colours = lab(colours[:: max(1, len(colours) // SAMPLED)]) * whole
    if not len(seen) or not len(colours):
        return 0.0
    nearest = np.full(len(seen), np.inf, np.float32)
    for part in np.array_split(colours, max(1, len(colours) // 64)):
        away = np.square(part).sum(1) - 2 * seen @ part.T
        np.minimum(nearest, away.min(1), out=nearest)
    return float((nearest + np.square(seen).sum(1) > FOREIGN**2).mean())


def lab(pixels: np.ndarray) -> np.ndarray:
    """sRGB, uint8 [n, 3], in CIELAB (D65), lightness discounted: float32 [n, 3]."""
    s = np.asarray(pixels, np.float32) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness, a, b = 116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.stack([LIGHTNESS_SHARE * lightness, a, b], axis=1)


@lru_cache(256)
def _lab_of(rgb: Rgb) -> np.ndarray:
    return lab(np.array([rgb]))[0]


_XYZ = np.array([[0.4339, 0.2126, 0.0178], [0.3762, 0.7152, 0.1095], [0.1899, 0.0722, 0.8727]], np.float32)
