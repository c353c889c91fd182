"""The end of a server in order: nothing new comes in, what runs is finished.

Triton's own way on SIGTERM closes every model at once, and an edit in flight then fails at the next network that it
calls. So the entry points are unloaded first, and the steps behind them when no request is in flight any more. A model
is gone seconds after its last request, process by process; nobody waits for that.
"""

import time
from collections.abc import Callable

from serving.launcher.control_client import CallError, ControlClient
from serving.topology import ENTRY_POINTS, STEPS

QUIET = 0.6
"""Seconds without a request in flight after which there is none: longer than one is on its way between two steps."""
LOOK = 0.1


def drain(server: ControlClient, seconds: float, under_way: Callable[[], int]) -> bool:
    """Unload the entry points and wait; True when no request is in flight any more.

    `under_way` counts the in-flight requests; it may raise OSError.
    False when requests still ran after `seconds`, or the server did not answer, or has no such entry points.
    """
    deadline = time.monotonic() + seconds
    try:
        if not set(ENTRY_POINTS) & set(server.states()):
            return False
        for models in (ENTRY_POINTS, STEPS):
            for model in models:
                server.unload(model, timeout=5)
            if not _quiet(under_way, deadline):
                return False
    except (CallError, OSError):
        return False
    return True


def _quiet(under_way: Callable[[], int], deadline: float) -> bool:
    """Whether nothing was under way for QUIET seconds, before the deadline."""
    since = time.monotonic()
    while time.monotonic() - since < QUIET:
        if under_way() > 0:
            since = time.monotonic()
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True
