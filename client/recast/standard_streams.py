"""Standard input, output and error, which may be closed, full, a pipe nobody reads, or unable to show a letter."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_NOBODY_READS = (errno.EPIPE, errno.EBADF, errno.EIO)
"""The pipe's reader has left, the stream was closed before we began, the terminal has gone."""


class OutputFull(Exception):
    """Standard output can take no text, such as on a full disk: the work itself is done."""

    name = "not_told"


def prepare() -> None:
    """Open what the caller has closed, and show letters that a stream cannot encode as escapes.

    A closed stream is opened on the null device for reading alone: no file or socket of ours then gets its number, to
    be written to by a library that logs, and whoever writes to it is told.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDONLY)
            setattr(sys, name, open(null, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, stream: TextIO) -> None:
    """Print a line; where nobody reads it is dropped, for what it tells of is done.

    Raises:
        OutputFull: standard output cannot take it. Of standard error nothing is raised.
    """
    _send(text + "\n", stream)


def flush(stream: TextIO) -> None:
    """Send what is buffered; errors are those of `say`."""
    _send("", stream)


def _send(text: str, stream: TextIO) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        silence(stream)
        if stream is not sys.stderr and error.errno not in _NOBODY_READS:
            raise OutputFull(f"cannot write to standard output: {error.strerror or error}.") from error


def check_output() -> str | None:
    """Why standard output can take no picture; None when it can."""
    if sys.stdout.isatty():
        return "standard output is a terminal"
    try:
        os.write(sys.stdout.fileno(), b"")
    except io.UnsupportedOperation:  # a program that calls us keeps its output in memory
        return None
    except OSError as error:
        return "standard output is " + ("closed" if error.errno == errno.EBADF else f"of no use ({error.strerror})")
    return None


def write_picture(data: bytes) -> None:
    """Write a picture's file to standard output. Raises OSError, for a pipe whose reader has left too."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError:
        silence(sys.stdout)
        raise


def read_picture() -> bytes:
    """The picture's file that standard input brings; b"" when it brings none. Raises OSError."""
    return sys.stdin.buffer.read()


def silence(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter fails with it at its own end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
