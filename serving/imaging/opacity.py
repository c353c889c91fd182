"""The alpha of a cut-out follows its object: a new thing has its own, and where the old one has gone nothing is left.

A picture whose background is real, opaque all around the object, keeps its alpha: so does a photograph saved as RGBA.
All of this is at the model's size, where the picture is seen on a white page (`Picture.rgb`).
"""

import numpy as np

from serving.imaging.crop import Canvas
from serving.imaging.morphology import dilate, fill_holes, laplace_fill, reconstruct

OPAQUE = 0.98
"""A ground of at least this alpha is real."""
THING = (12.0, 72.0)
"""Between these, of 255, lies the difference from the ground at which something stands before it."""


def ground_alpha(alpha: np.ndarray, canvas: Canvas, old: np.ndarray) -> float:
    """The alpha that is usual around the object `old`, 0 … 1; 1 where nothing is around it.

    `alpha` and `old` are float32 [size, size] in 0 … 1, the picture's alpha and the old object.
    """
    near = dilate(old > 0.25, max(2, len(old) // 16))
    ring = canvas.inside & near & (old == 0)
    return float(np.median(alpha[ring])) if ring.any() else 1.0


def whole_object(alpha: np.ndarray, canvas: Canvas, old: np.ndarray) -> np.ndarray:
    """The object `old` on a transparent ground, with the rim that its mask missed: float32 [size, size] in 0 … 1."""
    solid = old > 0.25
    rim = reconstruct(solid, solid | ((alpha > 0) & (canvas.mask > 0) & dilate(solid, max(2, len(old) // 32))))
    return np.maximum(old, dilate(rim, 1).astype(np.float32))


def new_alpha(
    generated: np.ndarray, canvas: Canvas, old: np.ndarray, thing: np.ndarray | None, ground: float
) -> np.ndarray:
    """The alpha of `generated`, float32 [size, size, 3] in 0 … 255: float32 [size, size] in 0 … 1.

    `thing` is the new thing's soft outline, float32 [size, size] in 0 … 1, all 0 where none shall be; None where
    nobody knows: then it is what differs from the ground, of alpha `ground`, around the old object.
    """
    if thing is None or thing.any():
        colour = laplace_fill(canvas.image, canvas.inside & ~dilate(old > 0, 1))
        difference = np.abs(generated - colour).max(axis=-1)
        low, high = THING
        stands = reconstruct(difference > high, difference > low) & (canvas.mask > 0)
        seen = np.clip((difference - low) / (high - low), 0, 1) * stands
        seen = np.maximum(seen, fill_holes(seen > 0.5))
        thing = seen if thing is None else np.maximum(seen, thing)
    return thing + (1 - thing) * np.float32(ground)
