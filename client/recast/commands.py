"""What each subcommand does: from its arguments to an outcome."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from PIL import Image

from . import console
from .client import Client
from .errors import InternalError
from .metadata import Metadata, metadata_of
from .output_files import UsageError, named, numbered
from .pictures import decoded
from .results import Edit
from .strip import strip
from .work_files import Result, opened, saved

NOT_READY = 5
MOST_IMAGES = 100
"""So many names of variants are checked before the call: far more than a server makes."""

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
    count = min(max(1, arguments.num_images or 1), MOST_IMAGES)
    extras = [path for path in (arguments.mask_out, arguments.strip) if path]
    source = opened(arguments, "edited", count=count, extras=extras)
    kept = _kept_metadata(source.data) if arguments.keep_metadata else Metadata()
    before = _shown(source.data) if arguments.strip else None
    started = time.monotonic()
    result = _edited(arguments, client, source.data)
    seconds = time.monotonic() - started
    document = {**result.summary(), "seconds": round(seconds, 3)}
    files = [
        Result("pictures", partial(kept.onto, png), path, source.replace)
        for png, path in zip(result.pngs, numbered(source.out, len(result.pngs)), strict=True)
    ]
    if arguments.mask_out:
        files.append(Result("mask", lambda: result.mask_png, named(arguments.mask_out)))
    if before is not None:
        draw = partial(strip, before, result.mask, result.pictures, arguments.prompt)
        files.append(Result("strip", draw, named(arguments.strip)))
    return _saved(files, source.kind, document, console.edit_lines(result, seconds), console.doubts(result))


def parse(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast parse`: what a sentence asks for."""
    result, seconds = _timed(arguments.prompt, lambda: client.parse(arguments.prompt))
    document = {**result.summary(), "seconds": round(seconds, 3)}
    return Outcome(document, console.parse_lines(result, seconds))


def mask(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast mask`: the object's outline, or with --intent the mask that such an edit would use."""
    source = opened(arguments, "mask")
    result, seconds = _timed(
        arguments.target, lambda: client.mask(source.data, arguments.target, intent=arguments.intent)
    )
    document = {"target": arguments.target, **result.summary(), "seconds": round(seconds, 3)}
    png = result.mask_png if arguments.intent else result.object_mask_png
    files = [Result("mask", lambda: png, source.out, source.replace)]
    return _saved(files, source.kind, document, console.mask_lines(arguments.target, result, seconds))


def status(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast status`: whether the server is ready, and its releases."""
    result = client.status()
    document = {"url": arguments.url, **result.summary()}
    lines = console.status_lines(result, arguments.url)
    return Outcome(document, lines, exit_code=0 if result.ready else NOT_READY)


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
        strength=arguments.strength,
        negative_prompt=arguments.negative_prompt,
        num_images=arguments.num_images,
        max_attempts=arguments.max_attempts,
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


def _saved(
    results: list[Result], kind: str, document: dict[str, Any], lines: list[str], warnings: Sequence[str] = ()
) -> Outcome:
    """Write the files, and list them."""
    told, notes = saved(results, kind, document)
    return Outcome(told, [*lines, console.saved_line([str(result.path) for result in results])], [*warnings, *notes])
