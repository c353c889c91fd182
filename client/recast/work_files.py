"""The picture that a command works on, and the files that it writes: what can fail is found before the call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from . import standard_streams
from .output_files import STDOUT, NotSaved, UsageError, beside, check_outputs, kind_of, named, numbered, save
from .safe_write import is_special, keep

_STDIN_NAMES = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_UNWRITABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What writing a file raises, and Pillow where it cannot convert one."""


@dataclass(frozen=True)
class Source:
    """The picture to work on, and where its result goes.

    `kind` is the result's format where its name tells none; `replace` says whether it may replace what is there.
    """

    data: bytes
    out: Path
    kind: str
    replace: bool


@dataclass(frozen=True)
class Result:
    """A file to write: `what` it is in the JSON document, and the function that makes its PNG file."""

    what: str
    png: Callable[[], bytes]
    path: Path
    replace: bool = True


def answers_on_stdout(arguments: argparse.Namespace) -> bool:
    """Whether a picture goes to standard output, so that all that is told must go to standard error."""
    outputs = [getattr(arguments, name, None) for name in ("out", "mask_out", "strip")]
    picture = getattr(arguments, "picture", None)
    by_default = picture is not None and not arguments.out and _is_piped(picture)
    return by_default or any(named(path) == STDOUT for path in outputs if path)


def opened(arguments: argparse.Namespace, ending: str, *, count: int = 1, extras: Sequence[str] = ()) -> Source:
    """The picture, after a check that its results can be written: `count` to --out, and one to each of `extras`.

    Without --out they go beside the picture, NAME-`ending`; an edited JPEG stays a JPEG. Raises UsageError.
    """
    stdin = arguments.picture in _STDIN_NAMES
    data = b"" if stdin else _read(arguments.picture)  # from standard input only when all else is right
    if arguments.out:
        out = named(arguments.out)
    elif _is_piped(arguments.picture):
        out = STDOUT
    else:
        out = beside(Path(arguments.picture), ending, kind_of(data) if ending == "edited" else "PNG")
    if out == STDOUT and count > 1:
        raise UsageError("standard output takes one picture; name a file with -o.")
    pictures = numbered(out, count)
    kept = [] if arguments.out else pictures
    picture = None if stdin else Path(arguments.picture)
    check_outputs(picture, [*pictures, *map(named, extras)], kept=kept, force=arguments.force)
    data = _read(arguments.picture) if stdin else data
    kind = kind_of(data) if ending == "edited" else "PNG"
    return Source(data, out, kind, replace=bool(arguments.out) or arguments.force)


def saved(results: Sequence[Result], kind: str, document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Write the files; `document` with their paths, and the notes of what was lost.

    One that cannot be written is kept elsewhere, and the others are still written. Raises NotSaved at the end.
    """
    notes: list[str] = []
    failures: list[str] = []
    document = dict(document)
    for result in results:
        path, png = result.path, b""
        try:
            png = result.png()
            note = save(png, path, otherwise=kind, replace=result.replace)
            notes += [note] if note else []
        except _UNWRITABLE as error:
            spare = keep(png, f"{path.stem.lstrip('-') or 'picture'}.png") if png else None
            failures.append(_failure(path, error, spare))
            path = spare or path
        shown = str(path)
        document[result.what] = [*document.get(result.what, []), shown] if result.what == "pictures" else shown
    if failures:
        raise NotSaved(" ".join(failures), document)
    return {**document, "notes": notes} if notes else document, notes


def _is_piped(picture: str) -> bool:
    return picture in _STDIN_NAMES or is_special(Path(picture))


def _read(picture: str) -> bytes:
    try:
        if picture not in _STDIN_NAMES:
            return Path(picture).read_bytes()
        if sys.stdin.isatty():
            raise UsageError("standard input is a terminal; pipe a picture into it, or name a file.")
        data = standard_streams.read_picture()
    except OSError as error:
        raise UsageError(f"cannot read {picture}: {error.strerror or error}.") from error
    if not data:
        raise UsageError("standard input brought no picture.")
    return data


def _failure(path: Path, error: Exception, spare: Path | None) -> str:
    place = "standard output" if path == STDOUT else str(path)
    elsewhere = f"; it is in {spare} instead" if spare else ""
    return f"cannot write {place}: {getattr(error, 'strerror', None) or error}{elsewhere}."
