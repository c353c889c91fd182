"""Which edits are admitted: up to a concurrency limit, bulk edits behind interactive ones but never starved.

An edit is admitted before anything is computed for it, because a full queue behind the first steps would throw their
work away. How many are under way is measured, not booked: nothing that an edit meets can make it count for ever. The
limit follows from how fast edits end, so that nobody who is admitted waits long, on any machine.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import EditError

PRIORITIES = ("interactive", "bulk")
INTERVAL, WINDOW = 0.1, 0.5
"""Seconds between two samples of what is under way, and for which a sample counts."""
BULK_WAITS = 4.0
"""Seconds for which a bulk edit that was refused counts as waiting: a client tries again within 2."""
OWED_AT_MOST = 4
THROUGHPUT_WINDOW, THROUGHPUT_AT_LEAST = 10.0, 5.0
"""Seconds for which edits that end are counted, and for how many at least: edits of one batch end together."""
PRESSURE = 0.75
"""Share of the limit from which on the throughput is the machine's, not the callers'."""


@dataclass(frozen=True)
class Limits:
    """What the concurrency limit is made of: as many edits as end within `seconds`, but from `least` to `all`.

    A bulk edit comes in while fewer than `bulk` are under way, or half of all that may be. While bulk edits wait, one
    edit in `bulk_turn` that is admitted is one of them.
    """

    all: int
    least: int
    seconds: int
    bulk: int
    bulk_turn: int

    def __post_init__(self):
        if not (1 <= self.bulk <= self.all and 2 <= self.least <= self.all) or self.seconds < 1 or self.bulk_turn < 2:
            raise ValueError(
                f"{self} cannot be: bulk lies between 1 and all, least between 2 and all, seconds is 1 or more, "
                "bulk_turn 2 or more"
            )


class Throughput:
    """The rate: edits that end in a second when as many are under way as may be; None until that is known.

    It is learnt, and falls, only under pressure: fewer edits end also when fewer are asked for. What was seen to end
    can be done again, so it rises at any time.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self._seen: deque[tuple[float, int, bool]] = deque()  # when, edits ended until then, under pressure

    def forget(self) -> None:
        """Forget the edits that were seen, not what was learnt of them."""
        self._seen.clear()

    def see(self, now: float, ended: int, pressed: bool) -> None:
        if self._seen and now - self._seen[-1][0] > 2 * WINDOW:  # nothing was under way for a while
            self._seen.clear()
        self._seen.append((now, ended, pressed))
        while now - self._seen[0][0] > THROUGHPUT_WINDOW:
            self._seen.popleft()
        began, ended_before, _ = self._seen[0]
        if now - began < THROUGHPUT_AT_LEAST:
            return
        rate = (ended - ended_before) / (now - began)
        if all(pressed for *_, pressed in self._seen) or (self.rate is not None and rate > self.rate):
            self.rate = rate


class Gate:
    """Admits edits, by what `sample` saw of those under way and those admitted since.

    An edit on its way from one step to the next is in no queue and in no process, and a batch that is just taken from a
    queue may be missed. So the most that was seen within `WINDOW` counts, and no edit may be seen twice.
    """

    def __init__(self, limits: Limits, measure: Callable[[], int], clock: Callable[[], float] = time.monotonic):
        self.limits = limits
        self.throughput = Throughput()
        self.entered = threading.Event()
        self._measure, self._clock = measure, clock
        self._lock = threading.Lock()
        self._admitted = 0  # edits, ever
        self._last = float("-inf")
        self._samples = [(float("-inf"), 0)]  # when, and edits under way less those admitted until then
        self._owed = 0.0  # bulk edits, for the interactive ones admitted while bulk ones waited
        self._bulk_waits_until = float("-inf")

    def enter(self, priority: str) -> None:
        """Admit one edit; raises EditError `overloaded` when as many are under way as may be, and `invalid_option`."""
        if priority not in PRIORITIES:
            raise EditError("invalid_option", f"the priority is {' or '.join(PRIORITIES)}.")
        with self._lock:
            if not (self._bulk() if priority == "bulk" else self._interactive()):
                raise EditError("overloaded", "as many edits are under way as the server takes; try again in a moment.")
            self._admitted += 1
            self._last = self._clock()
        self.entered.set()

    def sample(self) -> None:
        """Measure how many edits are under way now."""
        now, before = self._clock(), self._admitted
        under_way = self._measure()
        with self._lock:
            self._keep(now, under_way - before)
            under_way = self._under_way()
            self.throughput.see(now, self._admitted - under_way, PRESSURE * self.limit() <= under_way)

    def cannot_sample(self) -> None:
        """Take it that nothing is under way of what was admitted until now: better too many than nobody."""
        with self._lock:
            self._keep(self._clock(), -self._admitted)
            self.throughput.forget()

    def limit(self) -> int:
        """How many edits may be under way now."""
        limits, rate = self.limits, self.throughput.rate
        return limits.all if rate is None else max(limits.least, min(limits.all, int(rate * limits.seconds)))

    def idle(self) -> bool:
        """Whether nothing is under way, for certain."""
        with self._lock:
            return self._under_way() == 0 and self._clock() > self._last + WINDOW

    def _keep(self, now: float, difference: int) -> None:
        """A sample beside those that still count: edits under way less those admitted until then."""
        self._samples = [*(sample for sample in self._samples if sample[0] > now - WINDOW), (now, difference)]

    def _under_way(self) -> int:
        return self._admitted + max(difference for _, difference in self._samples)

    def _interactive(self) -> bool:
        bulk_waits = self._clock() <= self._bulk_waits_until
        if not bulk_waits:
            self._owed = 0.0
        limit = self.limit()
        if self._under_way() >= limit - int(self._owed):
            return False
        if bulk_waits:
            self._owed = min(self._owed + 1 / (self.limits.bulk_turn - 1), OWED_AT_MOST, limit // 2)
        return True

    def _bulk(self) -> bool:
        under_way, limit = self._under_way(), self.limit()
        if under_way < min(self.limits.bulk, limit // 2):
            self._owed = 0.0
            return True
        if self._owed >= 1 and under_way < limit:
            self._owed -= 1
            return True
        self._bulk_waits_until = self._clock() + BULK_WAITS
        return False


def watch(gate: Gate, failed: Callable[[Exception], None]) -> None:
    """Sample for ever, while something is under way. `failed` is told each exception, and everybody is admitted then.

    It must not end: what was admitted since the last sample would count as under way for good.
    """
    while True:
        gate.entered.wait()
        gate.entered.clear()
        time.sleep(INTERVAL)
        try:
            gate.sample()
        except Exception as error:
            gate.cannot_sample()
            failed(error)
        if not gate.idle():
            gate.entered.set()
