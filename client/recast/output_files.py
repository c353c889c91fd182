"""Where the command writes its pictures, and in which format."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .metadata import colour_chunks
from .pictures import decoded

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
JPEG_SEGMENT = 65_000
"""The most bytes of EXIF or XMP in a JPEG file: its segments end at 65,533 with their headers."""


class UsageError(Exception):
    """The command was called in a way that cannot work; says why in one sentence."""


def beside(picture: Path, ending: str) -> Path:
    """The default output: in the picture's folder, its stem with `ending`, such as street-edited.png."""
    return picture.with_name(f"{picture.stem}-{ending}.png")


def numbered(out: Path, count: int) -> list[Path]:
    """The files of `count` variants: OUT itself, or OUT-1, OUT-2, …"""
    return [out] if count == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, count + 1)]


def check_outputs(picture: Path, outputs: Iterable[Path]) -> None:
    """Raises UsageError when an output is the input, another output, of an unknown format or in no folder."""
    taken = {picture.resolve(): "the input picture"}
    for out in outputs:
        place = out.resolve()
        if place in taken or (out.exists() and picture.exists() and out.samefile(picture)):
            raise UsageError(f"{out} is {taken.get(place, 'the input picture')} already; choose another name.")
        if out.suffix.lower() not in FORMATS:
            raise UsageError(f"{out}: the name must end in {', '.join(FORMATS)}.")
        if not out.parent.is_dir():
            raise UsageError(f"{out}: there is no folder {out.parent}.")
        taken[place] = "another output"


def save(png: bytes, out: Path) -> str | None:
    """Write a PNG file's bytes to `out` in the format of its suffix; returns a note when something was lost.

    PNG is written as it came, WebP without loss, JPEG at quality 95; profile, dpi, EXIF and XMP go with it.
    """
    kind = FORMATS[out.suffix.lower()]
    if kind == "PNG":
        out.write_bytes(png)
        return None
    picture = decoded(png)
    metadata, left_out = _metadata(picture, kind)
    if colour_chunks(png):
        left_out.append("the PNG's gamma and primaries, so colours may look different")
    file = io.BytesIO()
    if kind == "JPEG":
        plain = picture if picture.mode == "L" and not picture.has_transparency_data else flattened(picture)
        plain.save(file, format=kind, quality=95, subsampling=0, **metadata)
        lost = "JPEG loses a little everywhere"
        lost += " and has no transparency" if picture.has_transparency_data else ""
    else:
        full = picture.convert("RGBA") if picture.has_transparency_data else flattened(picture)
        full.save(file, format=kind, lossless=True, exact=True, **metadata)
        lost = "WebP holds 8 bits a channel" if picture.mode == "I;16" else ""
    out.write_bytes(file.getvalue())
    sentences = [f"{lost}, untouched pixels too; use .png for an exact result."] if lost else []
    sentences += [f"{kind} has no place for {what}; use .png to keep it." for what in left_out]
    return f"{out}: {' '.join(sentences)}" if sentences else None


def _metadata(picture: Image.Image, kind: str) -> tuple[dict[str, Any], list[str]]:
    """Keywords for Pillow's `save` with what the picture says beside its pixels, and what `kind` has no place for."""
    metadata = {name: picture.info[name] for name in ("icc_profile", "exif", "xmp") if picture.info.get(name)}
    left_out = []
    if kind == "JPEG":
        metadata["dpi"] = picture.info.get("dpi", (0, 0))
        for name in ("exif", "xmp"):
            if len(metadata.get(name, b"")) > JPEG_SEGMENT:
                del metadata[name]
                left_out.append(f"{name.upper()} of more than 64 kB")
    return metadata, left_out


def flattened(picture: Image.Image) -> Image.Image:
    """The picture as RGB, 8 bits a channel, transparency over white."""
    if picture.mode == "I;16":
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
