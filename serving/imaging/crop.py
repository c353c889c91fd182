"""The square around the mask that the model works on, and the way back into the picture. Pillow resizes: OpenCV's
resizing knows no boxes between pixels and no Lanczos without aliasing, for 4 ms a picture at most."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from serving.errors import EditError
from serving.imaging.morphology import laplace_fill
from serving.imaging.picture import Box, Picture

OBJECT_SHARE = 0.68
"""The longest side of the mask's bounding box over the crop's side: enough context, enough detail."""
MAX_OBJECT_SHARE = 0.84
"""Where the picture is too small for OBJECT_SHARE, the crop may shrink this far before padding is needed."""
MAX_ENLARGEMENT = 4
"""The smallest crop is the model's size over this: below it there would be little but blur to see."""


@dataclass(frozen=True)
class Canvas:
    """What the model works on: `image` float32 [size, size, 3] in 0 … 255, `mask` float32 [size, size] in 0 … 1.

    `inside` is a bool [size, size]: False where the canvas is padding outside the picture.
    """

    image: np.ndarray
    mask: np.ndarray
    inside: np.ndarray

    @property
    def hole(self) -> np.ndarray:
        """bool [size, size]: the pixels hidden from the model."""
        return self.mask >= 0.5


@dataclass(frozen=True)
class Crop:
    """A square of `side` px whose corner (x, y) may lie outside the picture of `picture_size` (width, height).

    The model sees it as `size` x `size` px. `mask_box` bounds the mask, in the picture's px: only there is pasted.
    """

    x: int
    y: int
    side: int
    size: int
    picture_size: tuple[int, int]
    mask_box: Box

    @property
    def box(self) -> Box:
        """The part inside the picture, in the picture's px."""
        width, height = self.picture_size
        return (
            max(0, self.x),
            max(0, self.y),
            min(width, self.x + self.side),
            min(height, self.y + self.side),
        )

    @property
    def window(self) -> Box:
        """The same part in the model's px: `size` x `size` unless the crop sticks out of the picture."""
        x0, y0, x1, y1 = self.box
        left, right = self._span(x0 - self.x, x1 - self.x)
        top, bottom = self._span(y0 - self.y, y1 - self.y)
        return left, top, right, bottom

    def cut(self, picture: Picture, mask: np.ndarray) -> Canvas:
        """This part of `picture` and of `mask`, uint8 [H, W], at the model's size.

        Padding mirrors the picture, with the masked part filled in from around it, so that it repeats no object.
        """
        left, top, right, bottom = self.window
        image = resize(picture.rgb(self.box), (right - left, bottom - top)).astype(np.float32)
        part = self.cut_mask(mask)
        pad = ((top, self.size - bottom), (left, self.size - right))
        if pad != ((0, 0), (0, 0)):
            plain = np.pad(laplace_fill(image, part[top:bottom, left:right] == 0), (*pad, (0, 0)), mode="symmetric")
            plain[top:bottom, left:right] = image
            image = plain
        inside = np.zeros(part.shape, bool)
        inside[top:bottom, left:right] = True
        return Canvas(image, part, inside)

    def cut_mask(self, mask: np.ndarray) -> np.ndarray:
        """This part of `mask`, uint8 [H, W], as float32 [size, size] in 0 … 1; padding is 0."""
        x0, y0, x1, y1 = self.box
        left, top, right, bottom = self.window
        canvas = np.zeros((self.size, self.size), np.float32)
        part = Image.fromarray(np.ascontiguousarray(mask[y0:y1, x0:x1]))
        canvas[top:bottom, left:right] = (
            np.asarray(part.resize((right - left, bottom - top), Image.Resampling.BOX)) / 255
        )
        return canvas

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Canvas values, float [size, size, C], back at the picture's scale: float32 [h, w, C] over `mask_box`."""
        x0, y0, x1, y1 = self.box
        left, top, right, bottom = self.window
        across, down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
        m0, n0, m1, n1 = self.mask_box
        part = ((m0 - x0) * across, (n0 - y0) * down, (m1 - x0) * across, (n1 - y0) * down)
        window = values[top:bottom, left:right].astype(np.float32)
        planes = [Image.fromarray(np.ascontiguousarray(window[..., c])) for c in range(window.shape[-1])]
        scaled = [plane.resize((m1 - m0, n1 - n0), Image.Resampling.BICUBIC, box=part) for plane in planes]
        return np.stack([np.asarray(plane) for plane in scaled], axis=-1)

    def _span(self, start: int, end: int) -> tuple[int, int]:
        scale = self.size / self.side
        low = min(round(start * scale), self.size - 1)
        return low, min(max(round(end * scale), low + 1), self.size)


def choose_crop(mask: np.ndarray, size: int) -> Crop:
    """The crop for `mask`, uint8 [H, W], on a model that works at `size` px; it holds all of the mask.

    Raises EditError invalid_image when the mask is 0 everywhere.
    """
    height, width = mask.shape
    whole = Image.fromarray(mask).getbbox()
    if whole is None:
        raise EditError("invalid_image", "the mask marks nothing to replace; paint what shall change white.")
    x0, y0, x1, y1 = whole
    core = Image.fromarray((mask[y0:y1, x0:x1] >= 128).view(np.uint8)).getbbox() or (0, 0, x1 - x0, y1 - y0)
    longest = max(core[2] - core[0], core[3] - core[1])
    side = math.ceil(longest / OBJECT_SHARE)
    if side > min(width, height):
        side = max(min(width, height), math.ceil(longest / MAX_OBJECT_SHARE))
    side = max(side, x1 - x0, y1 - y0, size // MAX_ENLARGEMENT)
    x, y = _corner(x0, x1, side, width), _corner(y0, y1, side, height)
    return Crop(x, y, side, size, (width, height), (x0, y0, x1, y1))


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] at the (width, height) `size`, without aliasing.

    Pillow's, here as in `restore`: OpenCV has no Lanczos that shrinks and no box between pixels. INTER_AREA would
    save 3 of 4 ms and give other values, by up to 36 of 255.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _corner(start: int, end: int, side: int, extent: int) -> int:
    """Where a window of `side` starts: around start … end, inside the picture where it fits, else centred on it."""
    if side >= extent:
        return (extent - side) // 2
    return min(max((start + end - side) // 2, 0), extent - side)
