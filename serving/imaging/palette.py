"""Palette pictures: new colours inside the mask, every index outside it left alone."""

import numpy as np
from PIL import Image


def palette_of(image: Image.Image) -> np.ndarray:
    """The palette of a mode P image as uint8 [256, 4], RGBA; entries it does not define are opaque black."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    colours = np.frombuffer(bytes(image.getpalette("RGB") or b""), np.uint8).reshape(-1, 3)
    palette[: len(colours), :3] = colours
    transparency = image.info.get("transparency", b"")
    if isinstance(transparency, int):
        palette[transparency, 3] = 0
    else:
        alpha = np.frombuffer(transparency, np.uint8)
        palette[: len(alpha), 3] = alpha
    return palette


def quantise(
    indices: np.ndarray,
    colours: np.ndarray,
    spot: np.ndarray,
    palette: np.ndarray,
    taken: np.ndarray,
    *,
    grow: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices [h, w] and palette after `colours`, uint8 [h, w, 3], replace `indices` where `spot` is True.

    `taken` [256] counts the uses of each index elsewhere: those entries stay, the others may become new
    colours when `grow`.
    """
    palette = palette.copy()
    if not spot.any():
        return indices, palette
    free = np.flatnonzero(taken[: len(palette)] == 0)
    if grow and len(free):
        wanted = Image.fromarray(colours[spot][None]).quantize(len(free), Image.Quantize.MEDIANCUT)
        found = np.frombuffer(bytes(wanted.getpalette("RGB") or b""), np.uint8).reshape(-1, 3)[: len(free)]
        palette[free[: len(found)]] = np.concatenate([found, np.full((len(found), 1), 255, np.uint8)], axis=1)
    opaque = np.flatnonzero(palette[:, 3] == 255)
    ruler = Image.new("P", (1, 1))
    ruler.putpalette(palette[opaque, :3].tobytes())
    nearest = np.asarray(Image.fromarray(colours).quantize(palette=ruler, dither=Image.Dither.FLOYDSTEINBERG))
    chosen = opaque[np.minimum(nearest, len(opaque) - 1)].astype(np.uint8)
    return np.where(spot, chosen, indices), palette
