"""What each subcommand does: from its arguments to an outcome."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from . import console
from .client import Client
from .errors import InternalError
from .metadata import Metadata, metadata_of
from .output_files import UsageError, beside, check_outputs, numbered, save
from .pictures import decoded
from .results import Edit
from .strip import strip

NOT_READY = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What a command prints: `document` with --json, else `lines`; `notes` are warnings."""

    document: dict[str, Any]
    lines: list[str]
    notes: list[str] = field(default_factory=list)
    exit_code: int = 0


def edit(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast edit`: the pictures, and the mask and the strip when asked for."""
    picture = Path(arguments.picture)
    out = Path(arguments.out) if arguments.out else beside(picture, "edited")
    extras = [Path(path) for path in (arguments.mask_out, arguments.strip) if path]
    check_outputs(picture, [*numbered(out, max(1, arguments.num_images or 1)), *extras])
    data = _read(picture)
    kept = _kept_metadata(data) if arguments.keep_metadata else Metadata()
    before = _shown(data) if arguments.strip else None
    started = time.monotonic()
    result = _edited(arguments, client, data)
    seconds = time.monotonic() - started
    pictures = numbered(out, len(result.pngs))
    check_outputs(picture, [*pictures, *extras])
    files: list[tuple[bytes, Path]] = list(zip(map(kept.onto, result.pngs), pictures, strict=True))
    document = {**result.summary(), "seconds": round(seconds, 3), "pictures": [str(out) for out in pictures]}
    if arguments.mask_out:
        files.append((result.mask_png, Path(arguments.mask_out)))
        document["mask"] = arguments.mask_out
    if before is not None:
        files.append((strip(before, result.mask, result.pictures, arguments.prompt), Path(arguments.strip)))
        document["strip"] = arguments.strip
    return _saved(files, document, console.edit_lines(result, seconds))


def parse(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast parse`: what a sentence asks for."""
    result, seconds = _timed(arguments.prompt, lambda: client.parse(arguments.prompt))
    document = {**result.summary(), "seconds": round(seconds, 3)}
    return Outcome(document, console.parse_lines(result, seconds))


def mask(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast mask`: the object's outline, or with --intent the mask that such an edit would use."""
    picture = Path(arguments.picture)
    out = Path(arguments.out) if arguments.out else beside(picture, "mask")
    check_outputs(picture, [out])
    data = _read(picture)
    result, seconds = _timed(arguments.target, lambda: client.mask(data, arguments.target, intent=arguments.intent))
    document = {
        "target": arguments.target,
        **result.summary(),
        "seconds": round(seconds, 3),
        "mask": str(out),
    }
    png = result.mask_png if arguments.intent else result.object_mask_png
    return _saved([(png, out)], document, console.mask_lines(arguments.target, result, seconds))


def status(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast status`: whether the server is ready, and its releases."""
    result = client.status()
    document = {"url": arguments.url, **result.summary()}
    lines = console.status_lines(result, arguments.url)
    return Outcome(document, lines, exit_code=0 if result.ready else NOT_READY)


def _read(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {picture}: {error.strerror or error}.") from error


def _kept_metadata(data: bytes) -> Metadata:
    """Read before the edit, so that nothing is lost when it cannot be."""
    try:
        return metadata_of(data)
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError("the picture's metadata cannot be read; leave --keep-metadata out.") from error


def _shown(data: bytes) -> Image.Image:
    try:
        return decoded(data)
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError("this computer cannot show the picture; leave --strip out, or save it as PNG.") from error


def _edited(arguments: argparse.Namespace, client: Client, data: bytes) -> Edit:
    """The edit, a bar on the terminal meanwhile. It streams without a terminal too: Ctrl-C stops the server's work."""
    steps = client.replace_stream(
        data,
        arguments.prompt,
        seed=arguments.seed,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        negative_prompt=arguments.negative_prompt,
        num_images=arguments.num_images,
        priority="bulk" if arguments.bulk else None,
    )
    with closing(steps), console.progress(arguments.prompt) as line:
        for step in steps:
            if isinstance(step, Edit):
                return step
            line.show(step)
    raise InternalError("the server's answer ended before the edit.")


def _timed(doing: str, work: Callable[[], T]) -> tuple[T, float]:
    start = time.monotonic()
    with console.progress(doing):
        result = work()
    return result, time.monotonic() - start


def _saved(files: list[tuple[bytes, Path]], document: dict[str, Any], lines: list[str]) -> Outcome:
    """Write the files, and list them."""
    notes = []
    for png, path in files:
        try:
            note = save(png, path)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}.") from error
        notes += [note] if note else []
    if notes:
        document = {**document, "notes": notes}
    return Outcome(document, [*lines, console.saved_line([str(path) for _, path in files])], notes)
