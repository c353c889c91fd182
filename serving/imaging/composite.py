"""Generated pixels back into the picture: colours matched, only what changed replaced, edges feathered."""

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


def match_colours(generated: np.ndarray, canvas: Canvas) -> np.ndarray:
    """`generated`, float32 [size, size, 3] in 0 … 255, moved so that it meets the picture around the mask.

    The offset is measured in a ring of known pixels, low frequencies only, and stretched over the mask like a
    membrane (the idea of Poisson and mean-value cloning: Farbman et al. 2009), within COLOUR_LIMIT.
    """
    unit = max(1, canvas.image.shape[0] // 64)
    known = canvas.inside & (canvas.mask == 0)
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


def paste(picture: Picture, generated: np.ndarray, blend: np.ndarray, crop: Crop) -> Picture:
    """A copy of `picture` with `generated`, float32 [size, size, 3] in 0 … 255, laid in by `blend` (see `feather`)."""
    return picture.blend(crop.mask_box, np.clip(crop.restore(generated), 0, 255), blend)


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
