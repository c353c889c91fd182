"""Generated pixels back into the picture: colours matched, only what changed replaced, edges feathered."""

from dataclasses import dataclass

import cv2
import numpy as np

from serving.imaging.crop import Canvas, Crop
from serving.imaging.morphology import dilate, erode, fill_holes, gaussian_blur, laplace_fill, reconstruct, window_mean
from serving.imaging.picture import Picture

COLOUR_LIMIT = 24.0
"""The furthest a colour is moved to match, of 255. More is no drift of the decoder's but something painted."""
CHANGE = (6.0, 16.0)
"""Between these, of 255, lies the difference that counts as a change, above the decoder's own noise."""
WHOLE = 0.8
"""When this share of the mask changed, all of it is taken: there is little to save and an edge to lose."""

SHADOW = (0.08, 0.2)
"""How much darker, as a natural logarithm, a shadow is at its edge and in its depth: above the decoder's own noise."""
TINT = 0.12
"""The channels of a shadow differ by less than this."""
DARKEST = 4.0
"""Below this, of 255, nothing can be said of light."""
MISSED = 24.0
"""A difference, of 255, that is no background painted again."""
CRUMB, CRUMB_SHARE = 40.0, 0.01
"""What differs by so much, of 255, and is no larger than this share of the old thing, is a crumb of it."""


@dataclass(frozen=True)
class Sight:
    """What a second look sees in a painted canvas: how far that is what was asked for, `score`, 0 … 1.

    `thing` is the new thing's soft outline, float32 [size, size] in 0 … 1: all 0 where none shall be, None where it
    cannot be seen.
    """

    thing: np.ndarray | None
    score: float


def match_colours(generated: np.ndarray, canvas: Canvas, part: np.ndarray | None = None) -> np.ndarray:
    """`generated`, float32 [size, size, 3] in 0 … 255, moved so that it meets the picture around the mask.

    Around `part` of it, float32 [size, size], where the rest of the mask keeps the picture's own pixels.

    The offset is measured in a ring of known pixels, low frequencies only, and stretched over the mask like a
    membrane (the idea of Poisson and mean-value cloning: Farbman et al. 2009), within COLOUR_LIMIT.
    """
    unit = max(1, canvas.image.shape[0] // 64)
    known = canvas.inside & (canvas.mask == 0 if part is None else np.minimum(part, canvas.mask) == 0)
    offset = canvas.image - generated
    usable = known & dilate(~known, 4 * unit) & (np.abs(offset).max(axis=-1) <= 2 * COLOUR_LIMIT)
    weight = gaussian_blur(usable.astype(np.float32), unit)[..., None]
    mean = gaussian_blur(offset * usable[..., None], unit) / np.maximum(weight, 1e-3)
    return generated + np.clip(laplace_fill(mean, usable), -COLOUR_LIMIT, COLOUR_LIMIT)


def changed_part(generated: np.ndarray, canvas: Canvas, object_mask: np.ndarray) -> np.ndarray:
    """How much of each pixel to take from `generated`: float32 [size, size] in 0 … 1.

    Where the model repainted the old background as it was, the original is the better picture of it. The result is 1
    where `generated`, colour-matched float32 [size, size, 3], differs from the canvas, and on the old object,
    `object_mask` float32 [size, size] in 0 … 1, with a margin for shadows and soft edges. Means over small windows
    are compared, in which the detail that the decoder loses does not count. All of the mask when what changed cannot
    be told from that loss safely.
    """
    unit = max(1, canvas.image.shape[0] // 64)
    everything = np.ones(canvas.mask.shape, np.float32)
    hole = canvas.mask > 0
    radius = max(1, unit // 2)
    difference = window_mean(np.abs(window_mean(generated - canvas.image, radius)).max(axis=-1), radius)
    ring = canvas.inside & ~hole & dilate(hole, 6 * unit)
    noise = float(np.percentile(difference[ring], 75)) if ring.any() else np.inf
    low, high = max(CHANGE[0], 1.5 * noise), max(CHANGE[1], 3 * noise)
    if low > CHANGE[1]:
        return everything
    changed = reconstruct((difference > high) & hole, (difference > low) & hole)
    part = dilate(changed | (object_mask > 0.25), unit)
    part = fill_holes(erode(dilate(part, 2 * unit), 2 * unit))
    if (part & hole).sum() >= WHOLE * hole.sum():
        return everything
    return gaussian_blur(dilate(part, 3 * radius).astype(np.float32), radius)


def painted_part(generated: np.ndarray, canvas: Canvas, object_mask: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """`changed_part` where a second look knows the new `thing`: all but both things and their shadows stays.

    `thing`, float32 [size, size] in 0 … 1, is its soft outline. What differs strongly and touches it is the part of it
    that its outline missed. `object_mask` has the old thing's shadow already; of it only crumbs are missed, for what
    is larger is the background drawn a little elsewhere, and the picture has it right.
    """
    unit = max(1, canvas.image.shape[0] // 64)
    hole = canvas.mask > 0
    old, new = dilate(object_mask > 0.25, max(1, unit - 1)), dilate(thing > 0.25, 1)
    after, before = (np.maximum(gaussian_blur(image, 1), DARKEST) for image in (generated, canvas.image))
    red, green, blue = cv2.split(np.log(after / before))  # numpy takes ten times as long over a last axis of 3
    light = (red + green + blue) / 3
    tint = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    ground = hole & (tint < np.maximum(TINT, 0.7 * np.abs(light)))
    ring = canvas.inside & ~hole & dilate(hole, 6 * unit)
    noise = float(np.percentile(np.abs(light[ring]), 75)) if ring.any() else 0.0
    low, high = max(SHADOW[0], 1.5 * noise), max(SHADOW[1], 3 * noise)
    difference = window_mean(np.maximum.reduce(cv2.split(np.abs(generated - canvas.image))), 1)
    missed = (difference > MISSED) & hole & dilate(new, 2 * unit)
    whole = new | reconstruct(new, missed | new) | _shadow(-light, new, ground, low, high)
    part = fill_holes(erode(dilate(whole, unit), unit)) | old | _crumbs((difference > CRUMB) & hole, old)
    return np.maximum(gaussian_blur(dilate(part, 1).astype(np.float32), 1), thing)


def _crumbs(strange: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """Small pieces of the bool mask `strange` that touch `thing`, both [size, size]: the tips that its mask missed."""
    near = strange & ~thing & dilate(thing, max(2, len(thing) // 32))
    _, labels, facts, _ = cv2.connectedComponentsWithStats(near.view(np.uint8), connectivity=8)
    small = facts[:, cv2.CC_STAT_AREA] <= CRUMB_SHARE * thing.sum()
    small[0] = False
    return reconstruct(thing, thing | small[labels])


def _shadow(darker: np.ndarray, thing: np.ndarray, ground: np.ndarray, low: float, high: float) -> np.ndarray:
    """bool [size, size]: what of the `ground` is darker beside `thing` and below its middle, as a shadow is.

    `darker`, float32 [size, size], is by how much, as a logarithm; it counts from `low` on where it reaches `high`.
    """
    ground = ground & ~thing & (darker > low)
    ground[: _middle(thing)] = False
    deep = reconstruct(ground & (darker > high), ground)
    beside = reconstruct(deep & dilate(thing, 3), deep)
    return dilate(erode(beside, 1), 1)


def _middle(thing: np.ndarray) -> int:
    """The row in the middle of a thing, bool [H, W]: its shadow is looked for below."""
    rows = np.flatnonzero(thing.any(axis=1))
    return int(rows[0] + rows[-1]) // 2 if len(rows) else 0


def feather(part: np.ndarray, canvas: Canvas, mask: np.ndarray, crop: Crop) -> np.ndarray:
    """The blend over `crop.mask_box`, uint8 [h, w]: `part` (see `changed_part`) within `mask`, uint8 [H, W].

    0 wherever `mask` is 0. A mask that has only 0 and 255 is given a soft edge on its inside.
    """
    x0, y0, x1, y1 = crop.mask_box
    wanted = mask[y0:y1, x0:x1]
    if not ((wanted > 0) & (wanted < 255)).any():
        edge = max(1, crop.size // 128)
        outside = canvas.inside & (canvas.mask < 0.5)
        part = np.minimum(part, gaussian_blur(~dilate(outside, edge) * np.float32(1), edge))
    taken = np.clip(crop.restore(part[..., None])[..., 0], 0, 1)
    return np.rint(wanted * taken).astype(np.uint8)


def paste(
    picture: Picture, generated: np.ndarray, blend: np.ndarray, crop: Crop, alpha: np.ndarray | None = None
) -> Picture:
    """A copy of `picture` with `generated`, float32 [size, size, 3] in 0 … 255, laid in by `blend` (see `feather`).

    `alpha`, float32 [size, size] in 0 … 1, is that of `generated`; None keeps the picture's.
    """
    if alpha is not None:
        alpha = np.clip(crop.restore(alpha[..., None])[..., 0], 0, 1)
    return picture.blend(crop.mask_box, np.clip(crop.restore(generated), 0, 255), blend, alpha)


def background_difference(before: Picture, after: Picture, mask: np.ndarray) -> int:
    """The largest difference of any value of any pixel where `mask`, uint8 [H, W], is 0: 0, or a fault of ours."""
    largest = 0
    for top in range(0, mask.shape[0], 256):  # in strips, because a whole difference may take gigabytes
        rows = slice(top, top + 256)
        old, new = (_values(picture, rows) for picture in (before, after))
        unlike = (old != new) & (mask[rows] == 0)[..., None]
        if unlike.any():
            largest = max(largest, int(np.abs(old[unlike].astype(np.int64) - new[unlike]).max()))
    return largest


def _values(picture: Picture, rows: slice) -> np.ndarray:
    pixels = picture.pixels[rows]
    return pixels if picture.palette is None else np.append(picture.palette[pixels[..., 0]], pixels, axis=-1)
