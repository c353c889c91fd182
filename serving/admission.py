"""Which edits are let in: as many as there are places, bulk edits behind interactive ones but never starved.

An edit is let in before anything is computed for it, because a full queue behind the first steps would throw their work
away. How many are under way is measured, not booked: nothing that an edit meets can leave its place taken.
"""

import http.client
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import EditError
from serving.hands import held

PRIORITIES = ("interactive", "bulk")
QUEUES = frozenset({"parse", "mask", "inpaint"})
HANDS = QUEUES | {"replace_stream"}
"""Where an edit is under way. One that waits for replace_stream is not: it has yet to be let in."""
INTERVAL, WINDOW = 0.1, 0.5
"""Seconds between two samples of what is under way, and for which a sample counts."""
BULK_WAITS = 6.0
"""Seconds for which a bulk edit that was refused counts as waiting: a client tries again within 5."""
OWED_AT_MOST = 4
_PENDING = re.compile(r'^nv_inference_pending_request_count\{model="([^"]+)".*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Places:
    """How many edits may be under way: `all` together, and how many of any kind when a bulk edit comes in.

    While bulk edits wait, one edit in `bulk_turn` that is let in is one of them.
    """

    all: int
    bulk: int
    bulk_turn: int

    def __post_init__(self):
        if not 1 <= self.bulk <= self.all or self.bulk_turn < 2:
            raise ValueError(f"{self} cannot be: bulk lies between 1 and all, bulk_turn is 2 or more")


class Gate:
    """Lets edits in, by what `sample` saw of those under way and those let in since.

    An edit on its way from one step to the next is in no queue and in no hand. So the most that was seen within
    `WINDOW` counts.
    """

    def __init__(self, places: Places, measure: Callable[[], int], clock: Callable[[], float] = time.monotonic):
        self.places = places
        self.entered = threading.Event()
        self._measure, self._clock = measure, clock
        self._lock = threading.Lock()
        self._let_in = 0  # edits, ever
        self._last = float("-inf")
        self._samples = [(float("-inf"), 0)]  # when, and edits under way less those let in until then
        self._owed = 0.0  # bulk edits, for the interactive ones let in while bulk ones waited
        self._bulk_waits_until = float("-inf")

    def enter(self, priority: str) -> None:
        """Let one edit in; raises EditError `overloaded` when there is no place for it, `invalid_option`."""
        if priority not in PRIORITIES:
            raise EditError("invalid_option", f"the priority is {' or '.join(PRIORITIES)}.")
        with self._lock:
            if not (self._bulk() if priority == "bulk" else self._interactive()):
                raise EditError("overloaded", "as many edits are under way as the server takes; try again in a moment.")
            self._let_in += 1
            self._last = self._clock()
        self.entered.set()

    def sample(self) -> None:
        """Measure how many edits are under way now."""
        now, before = self._clock(), self._let_in
        under_way = self._measure()
        with self._lock:
            recent = [sample for sample in self._samples if sample[0] > now - WINDOW]
            self._samples = [*recent, (now, under_way - before)]

    def idle(self) -> bool:
        """Whether nothing is under way, for certain."""
        with self._lock:
            return self._under_way() == 0 and self._clock() > self._last + WINDOW

    def _under_way(self) -> int:
        return self._let_in + max(difference for _, difference in self._samples)

    def _interactive(self) -> bool:
        bulk_waits = self._clock() <= self._bulk_waits_until
        if not bulk_waits:
            self._owed = 0.0
        if self._under_way() >= self.places.all - int(self._owed):
            return False
        if bulk_waits:
            self._owed = min(self._owed + 1 / (self.places.bulk_turn - 1), OWED_AT_MOST)
        return True

    def _bulk(self) -> bool:
        under_way = self._under_way()
        if under_way < self.places.bulk:
            self._owed = 0.0
            return True
        if self._owed >= 1 and under_way < self.places.all:
            self._owed -= 1
            return True
        self._bulk_waits_until = self._clock() + BULK_WAITS
        return False


def watch(gate: Gate) -> None:
    """Sample for ever, while something is under way."""
    while True:
        gate.entered.wait()
        gate.entered.clear()
        time.sleep(INTERVAL)
        gate.sample()
        if not gate.idle():
            gate.entered.set()


def under_way(metrics: str, folder: Path, queues: frozenset[str] = QUEUES) -> int:
    """Edits under way: those in `queues`, by Triton's metrics at host:port `metrics`, and those at hand.

    One that a step takes from its queue meanwhile may count twice. Raises OSError without metrics.
    """
    before = held(folder, HANDS)
    waiting = sum(pending(page(metrics), queues).values())
    after = held(folder, HANDS)
    return waiting + sum(max(before.get(process, 0), count) for process, count in after.items())


def pending(text: str, queues: frozenset[str] = QUEUES) -> dict[str, int]:
    """Requests that wait for each of `queues`, all versions of it together, in a page of metrics."""
    waiting = dict.fromkeys(queues, 0)
    for model, count in _PENDING.findall(text):
        if model in waiting:
            waiting[model] += int(float(count))
    return waiting


def page(metrics: str, timeout: float = 1.0) -> str:
    """The page of metrics at host:port `metrics`; raises OSError. `timeout` in seconds."""
    connection = http.client.HTTPConnection(metrics, timeout=timeout)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()
