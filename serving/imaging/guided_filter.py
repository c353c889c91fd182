"""A coarse mask made to follow the picture's own edges."""

import cv2
import numpy as np

EPSILON = 26.0
"""Variance of colour, on the scale of 0 … 255, below which a window counts as flat: a deviation of about 5."""
LEAST_RADIUS = 4
"""Windows are taken on a grid so coarse that their radius is about this many of its px."""


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int) -> np.ndarray:
    """Smooth `values`, float32 [h, w] in 0 … 1, along the edges of `guide`, uint8 [h, w, 3].

    In windows of 2 · radius + 1 px the result is a linear function of the guide's colour (He, Sun, Tang, "Guided
    Image Filtering", ECCV 2010), found on a coarser grid (He, Sun, "Fast Guided Filter", arXiv 1505.00996).
    """
    factor = max(1, radius // LEAST_RADIUS)
    # OpenCV takes the radius in px of the coarser grid. A guide in 0 … 1 would be lost: it takes determinants of
    # covariances below 1e-6 for 0.
    fitted = cv2.ximgproc.guidedFilter(guide, values, round(radius / factor), EPSILON, scale=1 / factor)
    return np.clip(fitted, 0, 1)
