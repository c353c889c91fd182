"""Where the command writes its pictures, and in which format."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import standard_streams
from .metadata import colour_chunks
from .pictures import decoded
from .safe_write import is_special, write

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
JPEG_SEGMENT = 65_000
"""The most bytes of EXIF or XMP in a JPEG file: its segments end at 65,533 with their headers."""

STDOUT = Path("-")
"""The output that is no file: `-`."""
_STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class UsageError(Exception):
    """The command was called in a way that cannot work; says why in one sentence."""


class NotSaved(Exception):
    """A result could not be written where it should be; says why and where it is instead.

    `document` is what --json prints beside that.
    """

    name = "not_saved"

    def __init__(self, sentence: str, document: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.document = document


def named(text: str) -> Path:
    """The output that the user names, STDOUT for each name of standard output."""
    return STDOUT if text in _STDOUT_NAMES else Path(text)


def beside(picture: Path, ending: str, kind: str = "PNG") -> Path:
    """The default output: in the picture's folder, its stem with `ending`, such as street-edited.png.

    The suffix is that of the format `kind`, the picture's own if it is one.
    """
    own = FORMATS.get(picture.suffix.lower()) == kind
    suffix = picture.suffix if own else next(suffix for suffix, format in FORMATS.items() if format == kind)
    return picture.with_name(f"{picture.stem}-{ending}{suffix}")


def kind_of(data: bytes) -> str:
    """The format in which an edit of this picture is written when nobody names one: a JPEG stays a JPEG."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "PNG"


def numbered(out: Path, count: int) -> list[Path]:
    """The files of `count` variants: OUT itself, or OUT-1, OUT-2, …"""
    return [out] if count == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, count + 1)]


def check_outputs(
    picture: Path | None, outputs: Iterable[Path], *, kept: Collection[Path] = (), force: bool = False
) -> None:
    """Raises UsageError when an output cannot be written, or is the input or another output.

    `picture` is None when it comes from standard input. Those of `kept` must not replace a file, unless `force`.
    """
    taken = {} if picture is None else {os.path.realpath(picture): "the input picture"}
    for out in outputs:
        place = os.path.realpath(out) if out != STDOUT else "-"
        try:
            if place in taken or (picture is not None and _same(out, picture)):
                raise UsageError(f"{out} is {taken.get(place, 'the input picture')} already; choose another name.")
            _check_output(out, Path(place), may_replace=force or out not in kept, force=force)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror or error}; name another file with -o.") from error
        taken[place] = "another output"


def _same(out: Path, picture: Path) -> bool:
    return out != STDOUT and out.exists() and picture.exists() and out.samefile(picture)


def _check_output(out: Path, target: Path, *, may_replace: bool, force: bool) -> None:
    if out == STDOUT:
        if why := standard_streams.check_output():
            raise UsageError(f"{why}; name a file with -o.")
        return
    if is_special(out):
        return
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: the name must end in {', '.join(FORMATS)}.")
    if not target.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {target.parent if out.is_symlink() else out.parent}.")
    if target.is_symlink():  # realpath follows all links but those of a circle
        raise UsageError(f"{out} is a link that leads to itself; name another file.")
    if target.is_dir():
        raise UsageError(f"{out} is a folder; name a file.")
    if target.exists():
        if not may_replace:
            raise UsageError(f"{out} exists; replace it with --force, or name another file with -o.")
        if not force and not os.access(target, os.W_OK):
            raise UsageError(f"{out} is write-protected; replace it with --force, or name another file with -o.")
    elif not os.access(target.parent, os.W_OK):
        raise UsageError(f"{out}: the folder cannot be written to; name another file with -o.")


def save(png: bytes, out: Path, *, otherwise: str = "PNG", replace: bool = True) -> str | None:
    """Write a PNG file's bytes to `out` in the format of its suffix; returns a note when something was lost.

    `otherwise` is the format where the name tells none: of standard output and of pipes. Profile, dpi, EXIF and XMP go
    with it. Raises OSError, ValueError.
    """
    data, lost = converted(png, FORMATS.get(out.suffix.lower(), otherwise))
    if out == STDOUT:
        standard_streams.write_picture(data)
    else:
        write(data, out, replace=replace)
    shown = "standard output" if out == STDOUT else out
    return f"{shown}: {lost}" if lost else None


def converted(png: bytes, kind: str) -> tuple[bytes, str]:
    """A PNG file in the format `kind`, and sentences on what that loses.

    PNG goes as it came, WebP without loss, JPEG at quality 95.
    """
    if kind == "PNG":
        return png, ""
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
    sentences = [f"{lost}, untouched pixels too; use .png for an exact result."] if lost else []
    sentences += [f"{kind} has no place for {what}; use .png to keep it." for what in left_out]
    return file.getvalue(), " ".join(sentences)


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
