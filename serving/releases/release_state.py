"""Which releases an operator put in force: releases.json in the model repository, and the lock around changing it.

A server needs it for a canary's share alone; which release is in force it sees in its folders. The file tells what
the folders cannot: the release before, to go back to, and since when.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from recast.errors import RecastError

NAME = "releases.json"


class Busy(RecastError):
    name = "busy"


@dataclass(frozen=True)
class Entry:
    """One step's: the release in force, the one `before` it, and a `canary` that answers a `share` (0 … 1) of all.

    `since` is when a command last changed it, ISO 8601 in UTC.
    """

    release: int
    before: int | None = None
    canary: int | None = None
    share: float = 0.0
    since: str = ""


def read(repository: Path) -> dict[str, Entry]:
    """The entries by step; empty where nothing was ever deployed."""
    try:
        content = json.loads((repository / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {step: Entry(**entry) for step, entry in content.items()}


def write(repository: Path, step: str, entry: Entry) -> None:
    """Replace the step's entry, in one go for those who read."""
    content = {name: asdict(each) for name, each in {**read(repository), step: entry}.items()}
    fresh = repository / f".{NAME}"
    fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, repository / NAME)


@contextmanager
def exclusive(repository: Path) -> Iterator[None]:
    """Hold the repository against exports and other deployments; the kernel lets go when the process ends."""
    try:
        lock = os.open(repository, os.O_RDONLY)
    except OSError as error:
        raise Busy(f"{repository} cannot be used ({error.strerror}): name the one that is served.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(f"another deployment or export is at work in {repository}: wait until it has ended.") from None
    finally:
        os.close(lock)
