"""Whether something grows while a server works: its memory sampled, and the end of a run beside its start."""

from __future__ import annotations

import csv
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

EVERY = 2.0
WARM_UP = 0.1
"""Share of a run that is left out at its start."""
SHM = "/dev/shm"


@dataclass
class Watch:
    """Samples the server whose process is `pid`, every two seconds while the context is open.

    `rows` hold the time as "Timestamp" (seconds since the epoch) and megabytes: see `memory`, "memory" for their
    sum, and "/dev/shm" for all that is in there, whoever put it there.
    """

    pid: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._end.set()
        self._thread.join()

    def samples(self, name: str) -> list[tuple[float, float]]:
        return [(row["Timestamp"], row[name]) for row in self.rows]

    def write(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.rows for name in row)))
            writer.writeheader()
            writer.writerows(self.rows)

    def _sample(self) -> None:
        while True:
            each = memory(self.pid)
            row = {"Timestamp": time.time(), SHM: shared_memory(), "memory": sum(each.values()), **each}
            self.rows.append({name: round(value, 1) for name, value in row.items()})
            if self._end.wait(EVERY):
                return


def memory(pid: int) -> dict[str, float]:
    """Resident megabytes of the session that `pid` leads: of each Triton model, all its instances together, and of
    "tritonserver". A page that n processes share counts 1/n for each (PSS), so the sum is true."""
    found: Counter[str] = Counter()
    for process, name in processes(pid).items():
        try:
            found[name] += process.memory_full_info().pss
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return {name: size / 1e6 for name, size in sorted(found.items())}


def processes(pid: int) -> dict[psutil.Process, str]:
    """The processes of the session that `pid` leads, and their owners."""
    found = {}
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found[process] = owner(process.cmdline())
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def owner(command: list[str]) -> str:
    """The model that a process works for: a stub is told its instance's name, such as "inpaint_0_2"."""
    names = (re.fullmatch(r"(\w+)_\d+_\d+", word) for word in command)
    return next((name[1] for name in names if name), "tritonserver")


def shared_memory() -> float:
    """Megabytes in /dev/shm."""
    shm = os.statvfs(SHM)
    return (shm.f_blocks - shm.f_bfree) * shm.f_frsize / 1e6


@dataclass(frozen=True)
class Trend:
    """A quantile of the first and of the last third of a run after its warm-up; it grew when last / first > `limit`."""

    name: str
    first: float
    last: float
    limit: float

    @property
    def ratio(self) -> float:
        return self.last / max(self.first, 1e-9)

    @property
    def grew(self) -> bool:
        return self.ratio > self.limit


def trend(name: str, samples: Iterable[tuple[float, float]], limit: float, quantile: float = 0.5) -> Trend:
    """Of samples (seconds, value) in order of time; ValueError where a third has none."""
    samples = list(samples)
    if not samples:
        raise ValueError(f"no sample of {name}")
    began, ended = samples[0][0], samples[-1][0]
    began += WARM_UP * (ended - began)
    third = (ended - began) / 3
    first = [value for seconds, value in samples if began <= seconds <= began + third]
    last = [value for seconds, value in samples if seconds >= ended - third]
    if not first:
        raise ValueError(f"no sample of {name} in the first third")
    return Trend(name, float(np.quantile(first, quantile)), float(np.quantile(last, quantile)), limit)
