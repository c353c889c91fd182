"""Requests under way. Our expression reads a page of metrics in 0.14 ms, prometheus_client's parser in 5.8 ms.

Pages come ten times a second while edits are under way; that is of a real page of 42 kB, on one core, and the parser
would take 5.6 MB more in each process. Under way are the requests that wait in queues, and those that each Python model
works on now.

Triton tells how many requests wait for a model, but not how many it works on. So every process keeps one small file in
a folder that a server's processes share, locked for as long as the process lives: what a dead one left is not counted,
and no crash leaves a request behind. The steps write, admission and the launcher read.
"""

import fcntl
import http.client
import mmap
import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.topology import REPLACE_STREAM, STEPS

QUEUES = frozenset(STEPS)
WORKING = QUEUES | {REPLACE_STREAM}
"""Where an edit is under way. One that waits for replace_stream is not: it has yet to be admitted."""
_NUMBER = r"\d+\.?\d*(?:e\+?\d+)?"
_PENDING = re.compile(rf'^nv_inference_pending_request_count\{{model="([^"]+)".*\}} ({_NUMBER})$', re.MULTILINE)
_COUNT = struct.Struct("=q")


class InFlight:
    """This process's own count for `model`. Any number of threads may add requests."""

    def __init__(self, model: str, folder: Path):
        path = folder / f"{model}.{os.getpid()}"
        self._file = path.open("w+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.truncate(self._file.fileno(), _COUNT.size)
        self._shared = mmap.mmap(self._file.fileno(), _COUNT.size)
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def counting(self, requests: int) -> Iterator[None]:
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


def in_flight(folder: Path, models: frozenset[str]) -> dict[Path, int]:
    """The in-flight requests by process, for the live processes of `models`; the files of dead ones are removed."""
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


def under_way(metrics: str, folder: Path, queues: frozenset[str] = QUEUES) -> int:
    """Edits under way: those in `queues`, by Triton's metrics at host:port `metrics`, and those worked on.

    None counts twice; one that a step takes from its queue meanwhile is missed. Raises OSError without metrics.
    """
    before = in_flight(folder, WORKING)
    waiting = sum(pending(page(metrics), queues).values())
    after = in_flight(folder, WORKING)
    return waiting + sum(min(before.get(process, 0), count) for process, count in after.items())


def pending(text: str, queues: frozenset[str] = QUEUES) -> dict[str, int]:
    """Requests that wait for each of `queues`, all versions of it together, in a page of metrics."""
    waiting = dict.fromkeys(queues, 0)
    for model, count in _PENDING.findall(text):
        if model in waiting:
            waiting[model] += int(float(count))
    return waiting


def page(metrics: str, timeout: float = 1.0) -> str:
    """The page of metrics at host:port `metrics`; OSError without a good answer. `timeout` in seconds."""
    connection = http.client.HTTPConnection(metrics, timeout=timeout)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        content = response.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"no good answer from {metrics}: {error!r}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise OSError(f"no good answer from {metrics}: status {response.status}")
    return content
