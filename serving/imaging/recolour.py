"""Another paint on an object: its light and shade, its highlights, and the parts that are not painted, stay.

A new pixel is the old one plus A · (new paint - old paint), where A is how much of the old paint it shows (see
`serving.imaging.paint`): so highlights and texture stay without being known.
"""

import cv2
import numpy as np

from serving.imaging.colour import Rgb
from serving.imaging.morphology import reconstruct
from serving.imaging.paint import LEAST_AMOUNT, WHITE, Paint, explained, find_paint, lighter_thing, smoothstep

EDGE = 2
"""Px from the paint within which a pixel may be a mixture of the paint and its neighbour."""
ALIKE = (6.0, 18.0)
"""Colours nearer than this, of 255, cannot be told apart in a mixture."""
STEEP = 5.0
"""A paint that is lightened this many times shows the steps of 8 bits as much as they can be smoothed."""
STEP = 64.0
"""Of 255: a rise by more from one pixel to the next but one is an edge."""
SQUARE = np.ones((3, 3), np.uint8)
ROWS, MARGIN = 512, 8
"""Pixels are worked on in strips. A pixel's new colour depends on those so many px around it."""


def recolour(pixels: np.ndarray, object_mask: np.ndarray, mask: np.ndarray, new: Rgb) -> tuple[np.ndarray, np.ndarray]:
    """`pixels`, float32 [h, w, 3] in 0 … 255, with the object's paint replaced by `new`, and where they changed.

    `object_mask`, uint8 [h, w], is 255 on the object; its paint is the one that covers most of it. Only where `mask`,
    uint8 [h, w], is not 0 does anything change: the second result, bool [h, w].
    """
    paint = find_paint(pixels, object_mask)
    new_pixels, changed = pixels.copy(), np.zeros(mask.shape, bool)
    way = np.asarray(new, np.float32) - (paint.colour - paint.lift)
    gain = float(np.abs(way).max() / paint.colour.max())
    for top in range(0, len(pixels), ROWS):
        above = max(0, top - MARGIN)
        rows = slice(above, top + ROWS + MARGIN)
        amount = paint_amount(_smoothed(pixels[rows], paint, gain), mask[rows], paint)
        amount = amount[top - above : top - above + ROWS]
        changed[top : top + ROWS] = amount > 0
        new_pixels[top : top + ROWS] += amount[..., None] * way
    return np.clip(new_pixels, 0, 255, out=new_pixels), changed


def paint_amount(pixels: np.ndarray, mask: np.ndarray, paint: Paint) -> np.ndarray:
    """How much of `paint` each pixel shows, float32 [h, w]: 1 in full light, less in shade and where it is mixed with
    another colour, 0 where there is none or `mask`, uint8 [h, w], is 0."""
    lifted = pixels + np.float32(paint.lift)
    member, amount, _ = explained(lifted, paint)
    grey = (lifted @ WHITE) / 3
    other = lighter_thing(lifted, amount, paint)
    if other.any():  # a highlight rises out of the paint, a thing begins at an edge
        smooth = cv2.dilate(grey, SQUARE) - cv2.erode(grey, SQUARE) < STEP
        other[reconstruct((member > 0.9) & (other < 0.1), (member > 0.5) & smooth)] = 0
    member = member * (1 - other) * smoothstep(amount, LEAST_AMOUNT) * (mask > 0)
    unsure = paint.neutral > 0.5 and _lighter_edge(member, grey)
    return np.where(mask > 0, _mixed(lifted, np.where(unsure, np.minimum(member, 0.5), member), amount), 0)


def _lighter_edge(member: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Where a grey paint is lighter beside another thing than further in: mixed with that rather than a highlight."""
    near = np.ones((2 * EDGE + 1,) * 2, np.uint8)
    beside = cv2.dilate((member < 0.1).astype(np.uint8), near) > 0
    within = ((member > 0.9) & ~beside).astype(np.float32)
    usual = _mean((grey * within)[..., None], within, 2 * EDGE)[..., 0]
    return beside & (usual > 0) & (grey > 1.08 * usual)


def _mixed(lifted: np.ndarray, member: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """The amounts of paint, float32 [h, w], those at its edges by where a pixel lies between the colours beside it."""
    sure = (member > 0.9).astype(np.float32)
    other = (cv2.dilate(sure, SQUARE) == 0).astype(np.float32)
    edge = (cv2.dilate(sure, np.ones((2 * EDGE + 1,) * 2, np.uint8)) > 0) & (sure == 0)
    painted = np.dstack([lifted * sure[..., None], amount * sure])
    near, beside = _mean(painted, sure, 1), _mean(lifted * other[..., None], other, EDGE + 1)
    far = _mean(painted, sure, EDGE + 1)
    inside = np.where(cv2.blur(sure, (3, 3))[..., None] > 0.05, near, far)
    way = inside[..., :3] - beside
    length = np.square(way) @ WHITE
    part = np.clip(((lifted - beside) * way) @ WHITE / np.maximum(length, 1), 0, 1)
    told = smoothstep(np.sqrt(length), ALIKE)
    known = edge & (cv2.blur(other, (2 * EDGE + 3,) * 2) > 1e-3)
    return np.where(known, (told * part + (1 - told) * member) * inside[..., 3], member * amount)


def _mean(weighted: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """The mean of values, given times their weights, over squares of 2 · radius + 1 px."""
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(weighted, side).reshape(weighted.shape) / np.maximum(cv2.blur(weight, side), 1e-3)[..., None]


def _smoothed(pixels: np.ndarray, paint: Paint, gain: float) -> np.ndarray:
    """`pixels` without what is not to be seen `gain` times as strong: noise, and the steps of 8 bits."""
    steps = max(0.0, min(gain, STEEP) - 1)
    if paint.noise <= 0.3 and not steps:
        return pixels
    return cv2.bilateralFilter(pixels, 9 if steps else 5, 4 * paint.noise + 0.5 * steps, 3 if steps else 2)
