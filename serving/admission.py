"""Which edits are let in: as many as there are places, bulk edits behind interactive ones but never starved.

An edit is let in before anything is computed for it, because a full queue behind the first steps would throw their work
away. How many are under way is measured, not booked: nothing that an edit meets can leave its place taken.
"""

import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import EditError
from serving.hands import held

PRIORITIES = ("interactive", "bulk")
STEPS = frozenset({"parse", "mask", "inpaint", "replace_stream"})
FRESH = 0.05
"""Seconds for which a measurement is not made again."""
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
    """Lets edits in. `measure` gives the number of edits under way, and costs milliseconds.

    It is asked only when the last measurement, with all that were let in since, leaves no place: edits that ended
    meanwhile can only make room.
    """

    def __init__(self, places: Places, measure: Callable[[], int], clock: Callable[[], float] = time.monotonic):
        self.places = places
        self._measure, self._clock = measure, clock
        self._under_way = 0
        self._measured = float("-inf")
        self._owed = 0.0  # bulk edits, for the interactive ones let in while bulk ones waited
        self._bulk_waits_until = float("-inf")

    def enter(self, priority: str) -> None:
        """Let one edit in; raises EditError `overloaded` when there is no place for it, `invalid_option`."""
        if priority not in PRIORITIES:
            raise EditError("invalid_option", f"the priority is {' or '.join(PRIORITIES)}.")
        let_in = self._bulk if priority == "bulk" else self._interactive
        if not let_in():
            raise EditError("overloaded", "as many edits are under way as the server takes; try again in a moment.")
        self._under_way += 1

    def _interactive(self) -> bool:
        if self._clock() > self._bulk_waits_until:
            self._owed = 0.0
        let_in = self._room(self.places.all - int(self._owed))
        if let_in and self._clock() <= self._bulk_waits_until:
            self._owed = min(self._owed + 1 / (self.places.bulk_turn - 1), OWED_AT_MOST)
        return let_in

    def _bulk(self) -> bool:
        if self._room(self.places.bulk):
            self._owed = 0.0
            return True
        if self._owed >= 1 and self._room(self.places.all):
            self._owed -= 1
            return True
        self._bulk_waits_until = self._clock() + BULK_WAITS
        return False

    def _room(self, places: int) -> bool:
        now = self._clock()
        if self._under_way >= places and now - self._measured >= FRESH:
            self._measured, self._under_way = now, self._measure()
        return self._under_way < places


def under_way(metrics: str, folder: Path) -> int:
    """Edits under way: those that wait for a step, from Triton's metrics at host:port `metrics`, and those at hand.

    One that moves from a queue to a step meanwhile may count twice, but is not missed.
    """
    before = held(folder, STEPS)
    waiting = sum(pending(page(metrics)).values())
    after = held(folder, STEPS)
    return waiting + sum(max(before.get(process, 0), count) for process, count in after.items())


def pending(text: str) -> dict[str, int]:
    """Requests that wait for each step, all versions of it together, in a page of metrics."""
    waiting = dict.fromkeys(STEPS, 0)
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
