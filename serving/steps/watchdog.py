"""Ends a model's process that hangs, in an endless loop as in a deadlock, so that the supervisor starts another.

The timer is faulthandler's: a thread that needs no lock of the interpreter. Before it ends the process it writes where
each thread was to the server's log.
"""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager

from serving.environment import HUNG_AFTER

_limit = float(os.environ.get(HUNG_AFTER, "0"))
_watching = False


@contextmanager
def watched() -> Iterator[None]:
    """The block must end within the limit; each call of another model begins it anew."""
    global _watching
    _watching = True
    _arm(1)
    try:
        yield
    finally:
        _watching = False
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def waiting() -> Iterator[None]:
    """Another model works meanwhile: it has twice as long, so that its own process ends first."""
    _arm(2)
    try:
        yield
    finally:
        _arm(1)


def _arm(times: int) -> None:
    if _limit and _watching:
        faulthandler.dump_traceback_later(times * _limit, exit=True)
