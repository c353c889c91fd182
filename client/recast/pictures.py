"""Pictures on their way to the server: a path, bytes or a PIL image become the bytes of a picture file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from .errors import InvalidImage
from .metadata import without_profile

Picture = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Image.Image]

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CONVERTED = {"CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}
"""Modes that PNG has no form for, and what they become: for CMYK what the server makes of the bytes of a CMYK file."""
_XMP = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Where Pillow finds an orientation that browsers do not follow."""


def encoded(picture: Picture) -> bytes:
    """The bytes of a picture file.

    A file (path or bytes) goes as it is. A PIL image is encoded as PNG, without loss and in its own mode,
    turned the way its EXIF orientation says, as it is seen. One that PNG has no form for goes as RGB, with
    transparency as RGBA or LA.

    Raises:
        OSError: the file cannot be read.
        InvalidImage: the PIL image has numbers without a colour (F, I), or no pixels.
        TypeError: it is none of these.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).read_bytes()
    if not isinstance(picture, Image.Image):
        raise TypeError(f"a picture is a path, bytes or a PIL image, not {type(picture).__name__}")
    if 0 in picture.size:
        raise InvalidImage("the picture has no pixels.")
    file = io.BytesIO()
    # Level 1: the picture crosses one network once, so a fast encoding beats a small one.
    _in_png_mode(_upright(picture)).save(file, format="PNG", compress_level=1, pnginfo=_colours(picture))
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture in the bytes of a file, read to the last pixel, so that threads may share it."""
    data, profile = without_profile(data)  # Pillow refuses a PNG whose profile is longer than a megabyte
    picture = Image.open(io.BytesIO(data))
    picture.load()
    if profile:
        picture.info["icc_profile"] = profile
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()
    if not any(name in picture.info for name in _XMP):
        return ImageOps.exif_transpose(picture)
    plain = picture.copy()
    for name in _XMP:
        plain.info.pop(name, None)
    return ImageOps.exif_transpose(plain)


def _colours(picture: Image.Image) -> PngImagePlugin.PngInfo:
    """The chunks by which browsers show the colours of the PNG file that the picture was opened from."""
    chunks = PngImagePlugin.PngInfo()
    if "srgb" in picture.info:
        chunks.add(b"sRGB", bytes([picture.info["srgb"]]))
    for name, key in ((b"gAMA", "gamma"), (b"cHRM", "chromaticity")):
        values = np.atleast_1d(picture.info.get(key, []))
        if values.size:
            chunks.add(name, np.rint(values * 100_000).astype(">u4").tobytes())
    return chunks


def _in_png_mode(picture: Image.Image) -> Image.Image:
    if picture.mode in _PNG_MODES:
        return picture
    if picture.mode in ("I;16B", "I;16L", "I;16N"):
        return Image.fromarray(np.asarray(picture).astype(np.uint16))
    if picture.mode == "LAB":
        spaces = (ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"))
        converted = ImageCms.profileToProfile(picture, *spaces, outputMode="RGB")
        assert converted is not None  # it is None for a conversion in place alone
    elif picture.mode in _CONVERTED:
        converted = picture.convert(_CONVERTED[picture.mode])
    else:
        raise InvalidImage(f"a PIL image of mode {picture.mode} has numbers without a colour; convert it to L or RGB.")
    if picture.mode in ("CMYK", "LAB"):
        converted.info.pop("icc_profile", None)  # it describes ink, or Lab
    return converted
