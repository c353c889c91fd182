"""The ways to ask systems for edits: many clients in a closed loop, one client in turn, random arrivals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.edits import Edits
from benchmarks.rivals.request import Request
from serving.errors import EditError
from serving.launcher.server import RunningServer

SETTLE = 0.25
"""Seconds after the first answers: those of one batch come within it."""


@dataclass(frozen=True)
class System:
    """What is compared: `edit` raises EditError for a refusal. `most_clients` is how many it can serve at once."""

    name: str
    edit: Callable[[Request], bytes]
    most_clients: int | None = None
    server: RunningServer | None = None

    def seconds(self, request: Request) -> float | None:
        """How long it takes; None when the edit is refused."""
        started = time.perf_counter()
        try:
            self.edit(request)
        except EditError:
            return None
        return time.perf_counter() - started


def rate(completions: Sequence[float], opened: float, closed: float) -> tuple[float, int]:
    """Completions a second between the last one up to `opened` and the last one up to `closed`, and their number.

    From one completion to another, because answers of a batch come together: a window with fixed ends would hold a
    batch more or less by chance. ValueError where the window holds none.
    """
    first = max((t for t in completions if t <= opened), default=opened)
    inside = [t for t in completions if first < t <= closed]
    if not inside:
        raise ValueError("nothing was completed in the window: measure longer")
    return len(inside) / (max(inside) - first), len(inside)


def closed_loop(system: System, edits: Edits, clients: int, seconds: float) -> dict[str, float]:
    """Edits a second while `clients` each ask for the next edit as soon as the last one is answered.

    The window of `seconds` opens when as many edits are answered as there are clients. Returns once all are answered.
    """
    clients = min(clients, system.most_clients or clients)
    lock, stop = threading.Lock(), threading.Event()
    indices = iter(range(1 << 30))
    completions: list[float] = []
    refused: list[float] = []

    def client() -> None:
        try:
            while not stop.is_set():
                with lock:
                    index = next(indices)
                took = system.seconds(edits[index])
                (refused if took is None else completions).append(time.perf_counter())
        finally:
            stop.set()  # an error ends the loop of all

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        try:
            while len(completions) < clients and not stop.wait(0.01):
                pass
            stop.wait(SETTLE)
            opened = time.perf_counter()
            stop.wait(seconds)
        finally:
            stop.set()
        closed = time.perf_counter()
        for each in running:
            each.result()
    edits_a_second, count = rate(completions, opened, closed)
    asked = len(completions) + len(refused)
    return {"rate": round(edits_a_second, 4), "edits": count, "asked": asked, "refused": len(refused)}


def in_turn(systems: Sequence[System], edits: Edits, count: int) -> dict[str, list[float | None]]:
    """Seconds of each of `count` edits by each system, one after the other; another one begins every time.

    None stands for an edit that was refused.
    """
    seconds: dict[str, list[float | None]] = {system.name: [] for system in systems}
    for i in range(count):
        for system in rotated(systems, i):
            seconds[system.name].append(system.seconds(edits[i]))
    return seconds


def open_loop(system: System, edits: Edits, arrivals: Sequence[float], seconds: float) -> dict[str, Any]:
    """Latencies of edits that arrive at the given times in 0 … `seconds`, whatever the system does.

    `latencies` are in the arrivals' order, from when an edit should have been sent to its answer, without those of
    the refused; `left` is how many were not answered yet at the end of `seconds`.
    """
    began = time.perf_counter()

    def ask(index: int) -> tuple[float, float] | None:
        took = system.seconds(edits[index])
        return None if took is None else (arrivals[index], time.perf_counter() - began)

    with ThreadPoolExecutor(len(arrivals)) as pool:
        asked = []
        for i, arrival in enumerate(arrivals):
            time.sleep(max(0.0, began + arrival - time.perf_counter()))
            asked.append(pool.submit(ask, i))
        time.sleep(max(0.0, began + seconds - time.perf_counter()))
        left = sum(not each.done() for each in asked)
        answers = [answer for each in asked if (answer := each.result()) is not None]
    return {
        "arrivals": [round(arrival, 3) for arrival, _ in answers],
        "latencies": [round(done - arrival, 3) for arrival, done in answers],
        "left": left,
        "refused": len(asked) - len(answers),
    }


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times of a Poisson process in 0 … `seconds`, given that there are rate · seconds of them.

    Given their number, they are independent and uniform: so the load is exactly the one that is asked for.
    """
    count = max(1, round(rate * seconds))
    return [float(t) for t in np.sort(np.random.default_rng(seed).uniform(0, seconds, count))]


def rotated(systems: Sequence[System], by: int) -> list[System]:
    by %= len(systems)
    return [*systems[by:], *systems[:by]]
