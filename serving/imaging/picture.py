"""Encoded pictures to arrays and back: the one place that decodes what callers send.

What comes back has the input's size and mode after its EXIF rotation. Three exceptions, all defined so that a
client can compute them: CMYK becomes its RGB conversion (`Image.convert("RGB")`), because PNG holds no CMYK;
a colour key (a tRNS chunk outside palette pictures) becomes an alpha channel; a TIFF's unused fourth channel goes.
"""

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from serving.errors import EditError
from serving.imaging.metadata import NOTHING_KEPT, Metadata
from serving.imaging.opening import MAX_PIXELS, opened
from serving.imaging.palette import palette_of, quantise

COMPRESS_LEVEL = 1
"""zlib's: on photographs level 6 takes twice as long to save a tenth of the bytes."""
LUMA = np.array([299, 587, 114], np.float32) / 1000
"""ITU-R 601, the weights of Pillow's `convert("L")`."""

HARDLY_SEEN = 1 / 64
"""An alpha, of 1, that an edit leaves at the soft edge of what it took away."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `pixels` is [H, W, C], uint8 (uint16 in mode I;16), C = 1, 2, 3 or 4.

    `mode` is Pillow's. In modes 1 and P, `pixels` are indices into `palette`, uint8 [n, 4], RGBA.
    `metadata` goes back into the PNG.
    """

    mode: str
    pixels: np.ndarray
    palette: np.ndarray | None = None
    metadata: Metadata = NOTHING_KEPT

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def rgb(self, box: Box | None = None) -> np.ndarray:
        """uint8 [h, w, 3]: `box` (x0, y0, x1, y1), or everything, as seen on a white page."""
        if self.mode == "RGB":
            x0, y0, x1, y1 = box or (0, 0, *self.size)
            return self.pixels[y0:y1, x0:x1]
        return _seen(self.rgba(box))

    def rgba(self, box: Box | None = None) -> np.ndarray:
        """uint8 [h, w, 4]: the colours and opacity of `box` (x0, y0, x1, y1), or of everything."""
        x0, y0, x1, y1 = box or (0, 0, *self.size)
        pixels = self.pixels[y0:y1, x0:x1]
        if self.palette is not None:
            return self.palette[pixels[..., 0]]
        if self.mode == "I;16":
            pixels = np.rint(pixels / 257).astype(np.uint8)
        alpha = pixels[..., -1:] if self.mode in ("LA", "RGBA") else np.full_like(pixels[..., :1], 255)
        colours = pixels[..., :3] if self.mode in ("RGB", "RGBA") else pixels[..., :1].repeat(3, axis=-1)
        return np.concatenate([colours, alpha], axis=-1)

    def colours(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """The colours of `box` as they are, float32 [h, w, 3] in 0 … 255, and where there are any: bool [h, w]."""
        rgba = self.rgba(box)
        if self.mode == "I;16":  # all of its 16 bits
            x0, y0, x1, y1 = box
            return (self.pixels[y0:y1, x0:x1] / np.float32(257)).repeat(3, axis=-1), rgba[..., 3] > 0
        return rgba[..., :3].astype(np.float32), rgba[..., 3] > 0

    def alpha(self) -> np.ndarray | None:
        """The opacity of every pixel, uint8 [H, W]; None where all are opaque."""
        if self.palette is not None:
            opacity = self.palette[:, 3][self.pixels[..., 0]] if self.palette[:, 3].min() < 255 else None
        else:
            opacity = self.pixels[..., -1] if self.mode in ("LA", "RGBA") else None
        return None if opacity is None or opacity.min(initial=255) == 255 else opacity

    def blend(self, box: Box, colours: np.ndarray, mask: np.ndarray, alpha: np.ndarray | None = None) -> "Picture":
        """A copy with `colours`, float [h, w, 3] in 0 … 255, laid over `box` by `mask`, uint8 [h, w].

        Every pixel whose mask is 0 is left as it is, and so is opacity, unless `alpha`, float [h, w] in 0 … 1, says
        that of the new pixels; `colours` are then as seen on a white page. A palette's pixels are opaque or not.
        """
        if self.palette is not None:
            return self._requantised(box, colours, mask, alpha)
        x0, y0, x1, y1 = box
        pixels = self.pixels.copy()
        part = pixels[y0:y1, x0:x1]
        weight = mask[..., None].astype(np.float32) / 255
        if alpha is not None:
            opacity = part[..., -1] / np.float32(255)
            colours, opacity = _mixed(self.rgba(box)[..., :3], opacity, colours, alpha, weight)
            new = colours if self.mode == "RGBA" else (colours @ LUMA)[..., None]
            mixed = _rounded(np.append(new, 255 * opacity[..., None], axis=-1), pixels.dtype)
            np.copyto(part, mixed, where=mask[..., None] > 0)
            return replace(self, pixels=pixels)
        depth = 257 if self.mode == "I;16" else 1
        new = colours * depth if self.mode in ("RGB", "RGBA") else (colours @ LUMA)[..., None] * depth
        part = part[..., : new.shape[-1]]
        mixed = _rounded(part + (new - part) * weight, pixels.dtype)
        np.copyto(part, mixed, where=mask[..., None] > 0)
        return replace(self, pixels=pixels)

    def _requantised(self, box: Box, colours: np.ndarray, mask: np.ndarray, alpha: np.ndarray | None) -> "Picture":
        """`blend` of a picture with a palette."""
        assert self.palette is not None
        x0, y0, x1, y1 = box
        pixels, palette = self.pixels.copy(), self.palette
        part = pixels[y0:y1, x0:x1]
        old, weight = self.rgba(box), mask[..., None].astype(np.float32) / 255
        spot, gone = (mask > 0) & (old[..., 3] == 255), np.zeros(mask.shape, bool)
        if alpha is not None:
            gone = (mask >= 128) & (alpha < 0.5)
            appears = (mask >= 128) & (alpha >= 0.5) & (old[..., 3] < 255)
            spot, weight = (spot & ~gone) | appears, np.where(appears[..., None], np.float32(1), weight)
        mixed = _rounded(old[..., :3] + (colours - old[..., :3]) * weight, np.uint8)
        taken = np.array(Image.fromarray(pixels[..., 0]).histogram()) - np.bincount(part[spot, 0], minlength=256)
        clear = int(palette[:, 3].argmin())
        taken[clear] += int(palette[clear, 3] < 255)  # no new colour takes the place of the transparent one
        part[..., 0], palette = quantise(part[..., 0], mixed, spot, palette, taken, grow=self.mode == "P")
        part[gone, 0] = clear
        return replace(self, pixels=pixels, palette=palette)


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a PNG, JPEG, WebP, AVIF, HEIC or TIFF file, upright by its EXIF orientation.

    Pixels are counted from the header before any is decoded. Raises EditError invalid_image, or MemoryError.
    """
    image, metadata = opened(data, max_pixels)
    if image.mode in ("CMYK", "RGBX"):
        image = image.convert("RGB")
    if image.mode == "P":
        return Picture("P", np.asarray(image)[..., None], palette_of(image), metadata)
    if "transparency" in image.info:
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "1":
        black_white = np.array([[0, 0, 0, 255], [255, 255, 255, 255]], np.uint8)
        return Picture("1", np.asarray(image)[..., None].astype(np.uint8), black_white, metadata)
    if image.mode in ("I;16", "I;16B"):
        return Picture("I;16", np.asarray(image).astype(np.uint16)[..., None], None, metadata)
    pixels = np.asarray(image)
    return Picture(image.mode, pixels if pixels.ndim == 3 else pixels[..., None], None, metadata)


def encode(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    pixels, options = picture.pixels, picture.metadata.options()
    flat = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if picture.mode == "1":
        image = Image.fromarray(flat * np.uint8(255)).convert("1", dither=Image.Dither.NONE)
    else:
        image = Image.fromarray(flat)
    if picture.mode == "P":
        assert picture.palette is not None
        image.putpalette(picture.palette[:, :3].tobytes())
        if picture.palette[:, 3].min() < 255:
            options["transparency"] = picture.palette[:, 3].tobytes()
    return picture.metadata.onto(_png(image, options))


def encode_mask(mask: np.ndarray) -> bytes:
    """A mask, uint8 [H, W], as an 8-bit greyscale PNG file."""
    return _png(Image.fromarray(np.ascontiguousarray(mask)), {})


def decode_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """A mask as uint8 [H, W]; `size` is the (width, height) it must have. Raises EditError invalid_image."""
    try:
        picture = decode(data)
    except EditError as error:
        raise _invalid(f"the mask cannot be read: {error.sentence}") from None
    if picture.size != size:
        found, wanted = "{}x{}".format(*picture.size), "{}x{}".format(*size)
        raise _invalid(f"the mask is {found} px and the upright picture is {wanted} px; send equal sizes.")
    if picture.mode == "L":
        return picture.pixels[..., 0]
    return _rounded(picture.rgb() @ LUMA, np.uint8)


def _png(image: Image.Image, options: dict[str, Any]) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=COMPRESS_LEVEL, **options)
    return out.getvalue()


def _seen(rgba: np.ndarray) -> np.ndarray:
    if rgba[..., 3].min(initial=255) == 255:
        return rgba[..., :3]
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return _rounded(255 + (rgba[..., :3] - np.float32(255)) * alpha, np.uint8)


def _mixed(
    old: np.ndarray, old_alpha: np.ndarray, seen: np.ndarray, new_alpha: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [h, w, 3] and alpha [h, w] between an old layer and a new one that is `seen` on a white page.

    Premultiplied (Porter and Duff 1984). What is hardly seen any more is made transparent and loses its old colour.
    """
    alpha = old_alpha * (1 - weight[..., 0]) + new_alpha * weight[..., 0]
    alpha = np.where(alpha < HARDLY_SEEN, 0, alpha)
    new = np.clip(255 + (seen - 255) / np.maximum(new_alpha, 1 / 255)[..., None], 0, 255)
    share = np.divide(new_alpha * weight[..., 0], alpha, out=np.ones_like(alpha), where=alpha > 0)[..., None]
    return old + (new - old) * share, alpha


def _rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    return np.rint(np.clip(values, 0, np.iinfo(dtype).max)).astype(dtype)


def _invalid(sentence: str) -> EditError:
    return EditError("invalid_image", sentence)
