"""Ends a model's process that hangs, in an endless loop as in a deadlock, so that the supervisor starts another.

The timer is faulthandler's: a thread that needs no lock of the interpreter. Before it ends the process it writes where
each thread was to the server's log.
"""

import faulthandler
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.environment import HUNG_AFTER, METRICS
from serving.inflight import page

_limit = float(os.environ.get(HUNG_AFTER, "0"))
_metrics = os.environ.get(METRICS)
_lock = threading.Lock()  # between the step's thread and the one that keeps the timer from a call
_watching = False
_called: str | None = None
"""The model that works meanwhile."""
_call = 0
"""Counts the calls, so that none is taken for the next."""
_keeper: threading.Thread | None = None


@contextmanager
def watched() -> Iterator[None]:
    """The block must end within the limit; each call of another model begins it anew."""
    global _watching
    _watching = True
    _arm(1)
    try:
        yield
    finally:
        with _lock:
            _watching = False
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def waiting(model: str) -> Iterator[None]:
    """`model` works meanwhile: it has twice as long, so that its own process ends first.

    A call that waits in its queue has longer, for as long as it executes what lies before.
    """
    _arm(2, model)
    try:
        yield
    finally:
        _arm(1)


def _arm(times: int, model: str | None = None) -> None:
    global _called, _call, _keeper
    if not (_limit and _watching):
        return
    with _lock:
        _called, _call = model, _call + 1
        faulthandler.dump_traceback_later(times * _limit, exit=True)
        if model and _metrics and _keeper is None:
            _keeper = threading.Thread(target=_keep, args=(_metrics,), name="watchdog", daemon=True)
            _keeper.start()


def _keep(metrics: str) -> None:
    """Begin the timer of a long call anew whenever the called model has executed something since the last look."""
    before, executed = 0, None
    while True:
        time.sleep(_limit / 2)
        model, call = _called, _call
        if model is None:
            continue
        try:
            now = executions(page(metrics), model)
        except OSError:
            continue
        with _lock:
            if call == before == _call and now != executed and _watching:
                faulthandler.dump_traceback_later(2 * _limit, exit=True)
        before, executed = call, now


def executions(text: str, model: str) -> int:
    """How often `model` has executed, all versions of it together, by a page of Triton's metrics."""
    counts = re.findall(rf'^nv_inference_exec_count\{{model="{re.escape(model)}".*\}} (\S+)$', text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)
