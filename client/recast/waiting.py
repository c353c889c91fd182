"""Who asks next while a server is full: the calls of one client wait in a line, the oldest at its head.

Thirty calls that each ask again after a pause of their own are served by luck, and some never. In a line only the
head asks, so that they are served in the order of their coming, and the server hears a few questions a second,
however many wait. Between clients, who waited longest asks most often.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from .deadline import Deadline
from .errors import Overloaded
from .transport import Signal

LONGEST_PAUSE, SHORTEST_PAUSE = 1.0, 0.25
"""Seconds from a refusal to the next question, for a head that has just come and for one that waited long."""
HALVING = 10.0
"""Seconds of waiting after which the pause is half of the longest."""
SPACING = 0.2
"""Seconds until the next in line asks while the one before it is neither refused nor answered."""

_numbers = count()


class Place:
    """One call's place: earlier ones come first. `asked` counts how often the server was asked."""

    def __init__(self, signal: Signal) -> None:
        self.number = next(_numbers)
        self.signal = signal
        self.asked = 0
        self._since = time.monotonic()

    def waited(self) -> float:
        """Seconds since the call was made."""
        return time.monotonic() - self._since


class Line:
    """The calls of one client that compete for the same places of the server. Threads and tasks may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: list[Place] = []  # the oldest first
        self._next = 0.0
        self._freed = 0

    def __len__(self) -> int:
        return len(self._places)

    async def turn(self, place: Place, deadline: Deadline) -> bool:
        """Wait until it is the turn of `place`, which leaves the line then; False when the deadline comes first.

        Whoever leaves, also by an exception, hands the head of the line to the next.
        """
        with self._lock:
            self._places.append(place)
            self._places.sort(key=lambda each: each.number)
        try:
            while not deadline.is_near():
                place.signal.clear()
                pause = self._pause(place)
                if pause <= 0:
                    return True
                left = deadline.left()
                seconds = min(pause, math.inf if left is None else left)
                await place.signal.wait(None if seconds == math.inf else seconds)
            return False
        finally:
            with self._lock:
                self._places.remove(place)
                self._wake_head()

    @contextmanager
    def asking(self, place: Place) -> Iterator[None]:
        """Around one question to the server: what becomes of it tells when the next is due."""
        place.asked += 1
        try:
            yield
        except Overloaded:
            with self._lock:
                self._freed = 0
                self._next = time.monotonic() + pause_after(place.waited())
            raise
        except BaseException:
            self._free()
            raise
        self._free()

    def _free(self) -> None:
        """A call of ours has ended, so there may be a place: the head asks at once."""
        with self._lock:
            self._freed = min(self._freed + 1, len(self._places))
            self._wake_head()

    def _pause(self, place: Place) -> float:
        """Seconds until `place` may ask; inf while others are before it. 0 takes the turn."""
        with self._lock:
            if self._places[0] is not place:
                return math.inf
            now = time.monotonic()
            if not self._freed and now < self._next:
                return self._next - now
            self._freed = max(0, self._freed - 1)
            self._next = now + SPACING
            return 0.0

    def _wake_head(self) -> None:
        if self._places:
            self._places[0].signal.set()


def pause_after(waited: float) -> float:
    """Seconds from a refusal to the next question of a call that has waited `waited` seconds, a little random."""
    return random.uniform(0.5, 1.0) * max(SHORTEST_PAUSE, LONGEST_PAUSE / (1 + waited / HALVING))
