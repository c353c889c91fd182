"""CIEDE2000: how different two colours look. About 1 is the least that a person sees, 10 is seen at a glance."""

from __future__ import annotations

import numpy as np

from serving.imaging.colour import LIGHTNESS_SHARE, lab

OPPOSITE = np.pi + 1e-9
"""Hues that are further apart than this are nearer the other way round; rounding must not decide of opposite ones."""


def colour_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ΔE2000 of sRGB pixels, uint8 [n, 3] each: float32 [n]."""
    return delta_e_2000(*(lab(pixels) / np.array([LIGHTNESS_SHARE, 1, 1], np.float32) for pixels in (a, b)))


def delta_e_2000(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ΔE2000 of CIELAB colours, float [n, 3] each: float [n].

    Sharma, Wu and Dalal: The CIEDE2000 color-difference formula (Color Research and Application 30, 2005), with
    kL = kC = kH = 1; the numbers in the comments are the paper's equations.
    """
    chroma = (np.hypot(a[:, 1], a[:, 2]) + np.hypot(b[:, 1], b[:, 2])) / 2  # (2), (3)
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))  # 1 + (4)
    a_red, b_red = a[:, 1] * stretch, b[:, 1] * stretch  # (5)
    a_chroma, b_chroma = np.hypot(a_red, a[:, 2]), np.hypot(b_red, b[:, 2])  # (6)
    a_hue, b_hue = (np.arctan2(colours[:, 2], red) % (2 * np.pi) for colours, red in ((a, a_red), (b, b_red)))  # (7)
    grey = a_chroma * b_chroma == 0
    turn = b_hue - a_hue
    turn = np.where(grey, 0, turn - 2 * np.pi * np.sign(turn) * (np.abs(turn) > OPPOSITE))  # (10)
    hue_step = 2 * np.sqrt(a_chroma * b_chroma) * np.sin(turn / 2)  # (11)
    lightness, chroma = (a[:, 0] + b[:, 0]) / 2, (a_chroma + b_chroma) / 2  # (12), (13)
    hue = np.where(grey, a_hue + b_hue, a_hue + turn / 2) % (2 * np.pi)  # (14)
    weight = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )  # (15)
    around = ((np.degrees(hue) - 275 + 180) % 360 - 180) / 25
    rotation = -np.sin(np.radians(60) * np.exp(-(around**2)))  # (16), (21)
    rotation = rotation * 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))  # (17)
    from_middle = (lightness - 50) ** 2
    light = (b[:, 0] - a[:, 0]) / (1 + 0.015 * from_middle / np.sqrt(20 + from_middle))  # (8), (18)
    colourful = (b_chroma - a_chroma) / (1 + 0.045 * chroma)  # (9), (19)
    hued = hue_step / (1 + 0.015 * chroma * weight)  # (20)
    return np.sqrt(np.maximum(light**2 + colourful**2 + hued**2 + rotation * colourful * hued, 0))  # (22)
