"""Pictures on their way to the server: a path, bytes or a PIL image become the bytes of a picture file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Union

from PIL import Image, ImageOps

from .errors import InvalidImage

Picture = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Image.Image]

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def encoded(picture: Picture) -> bytes:
    """The bytes of a picture file.

    A file (path or bytes) goes as it is. A PIL image is encoded as PNG, without loss and in its own mode,
    turned the way its EXIF orientation says, as it is seen.

    Raises:
        OSError: the file cannot be read.
        InvalidImage: the PIL image's mode has no lossless PNG form, or it has no pixels.
        TypeError: it is none of these.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture).read_bytes()
    if not isinstance(picture, Image.Image):
        raise TypeError(f"a picture is a path, bytes or a PIL image, not {type(picture).__name__}")
    if picture.mode not in _PNG_MODES:
        raise InvalidImage(f"a PIL image of mode {picture.mode} has no exact PNG form; convert it to RGB first.")
    if 0 in picture.size:
        raise InvalidImage("the picture has no pixels.")
    file = io.BytesIO()
    # Level 1: the picture crosses one network once, so a fast encoding beats a small one.
    ImageOps.exif_transpose(picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture in the bytes of a file, read to the last pixel, so that threads may share it."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
