"""How many requests each Python model works on now: told in a folder that a server's processes share.

Triton tells how many requests wait for a model, but not how many it works on. Every process keeps one small file,
locked for as long as the process lives: what a dead one left is not counted, so no crash leaves a request behind.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "RECAST_HANDS"
"""The variable that names the folder; without it nothing is told."""
_COUNT = struct.Struct("=q")


class Hands:
    """This process's own count for `model`. Any number of threads may hold requests."""

    def __init__(self, model: str, folder: Path):
        path = folder / f"{model}.{os.getpid()}"
        self._file = path.open("w+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.truncate(self._file.fileno(), _COUNT.size)
        self._shared = mmap.mmap(self._file.fileno(), _COUNT.size)
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def holding(self, requests: int) -> Iterator[None]:
        """Count `requests` for as long as the block lasts."""
        self._add(requests)
        try:
            yield
        finally:
            self._add(-requests)

    def _add(self, requests: int) -> None:
        with self._lock:
            self._count += requests
            _COUNT.pack_into(self._shared, 0, self._count)


def held(folder: Path, models: frozenset[str]) -> dict[Path, int]:
    """The requests at hand by process, for the live processes of `models`; the files of dead ones are removed."""
    counts = {}
    for path in folder.iterdir():
        if path.name.partition(".")[0] not in models:
            continue
        try:
            with path.open("rb") as file:
                if _alive(file):
                    content = file.read(_COUNT.size)
                    counts[path] = _COUNT.unpack(content)[0] if len(content) == _COUNT.size else 0
                else:
                    path.unlink()
        except FileNotFoundError:  # another reader removed it
            continue
    return counts


def _alive(file) -> bool:
    """Whether the process that keeps `file` lives: then it is locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
