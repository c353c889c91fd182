"""A real inference on admit and every step of a running server: a warm-up, and proof that they work.

The picture and its mask are made up, so it does not matter what the weights know.
"""

from __future__ import annotations

import io
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image

from serving.launcher.control_client import CallError, ControlClient
from serving.launcher.preflight import LaunchError
from serving.topology import ADMIT, PROBED, networks_of
from serving.triton_errors import is_away, is_busy, parse_error

SIDE = 256
SENTENCE = "Replace the car with a bicycle"
EXPECTED = ("not_an_edit", "object_not_found")
"""Errors of steps that work: the weights need not find anything in the made-up picture."""
OVERLOADED = "overloaded"
PASSING = (OVERLOADED, "restarting", "cancelled")
"""Errors of steps that are busy, or being mended."""
EVERY = 10.0
"""Seconds between two looks for a step that nobody used."""
AT_MOST = 0.1
"""Share of the time that those requests may take: they are seconds of work for large networks on a CPU."""
AGAIN = 0.5
"""Seconds until a step that was too busy for its first plain request is asked again."""


class StepError(LaunchError):
    """`step` failed on a plain request. `typed` is the error of its own, if it is one.

    `hung`: it gives no answer; `busy`: it had no room; `passing`: busy, or being mended.
    """

    def __init__(self, step: str, error: CallError) -> None:
        super().__init__(f"the step '{step}' fails on a plain request: {error.message}")
        self.step = step
        self.hung = error.status is None
        self.typed = parse_error(error.message)
        name = self.typed.name if self.typed else None
        self.busy = name == OVERLOADED if name else is_busy(error.message)
        self.passing = self.busy or (name in PASSING if name else is_away(error.message))


def probe(server: ControlClient, timeout: float) -> None:
    """Call admit and every step once; LaunchError says which of them fails. `timeout` in seconds a step.

    A server that starts again has callers at once: a step that these keep too busy has worked when it worked for them.
    """
    for step in PROBED:
        deadline = time.monotonic() + timeout
        while True:
            try:
                probe_step(server, step, timeout)
            except StepError as failure:
                if not failure.busy or time.monotonic() >= deadline:
                    raise
                if not server.successes().get(step, 0):
                    time.sleep(AGAIN)
                    continue
            break


def probe_step(server: ControlClient, step: str, timeout: float) -> None:
    """Call one step and through it its networks; StepError when it fails, with what it says."""
    try:
        server.infer(step, {name: _array(value) for name, value in _request(step).items()}, timeout)
    except CallError as error:
        failure = StepError(step, error)
        if failure.typed is None or failure.typed.name not in EXPECTED:
            raise failure from None


def _request(step: str) -> dict[str, bytes | str | int]:
    nonce = secrets.token_hex(4)  # nothing that a step remembers
    if step in (ADMIT, "parse"):
        return {"prompt": f"{SENTENCE} {nonce}"}
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    picture = _png(np.stack([*np.meshgrid(ramp, ramp), np.full((SIDE, SIDE), 128, np.uint8)], -1))
    if step == "mask":
        return {"image": picture, "target": f"car {nonce}"}
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[SIDE // 3 : -SIDE // 3, SIDE // 3 : -SIDE // 3] = 255
    return {
        "image": picture,
        "mask_image": _png(hole),
        "caption": f"a bicycle {nonce}",
        "num_inference_steps": 2,
    }


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _array(value: bytes | str | int) -> np.ndarray:
    content = value.encode() if isinstance(value, str) else value
    return np.array([[content]], np.int32 if isinstance(value, int) else np.object_)


class HealthProbe:
    """A plain request to each step that has had no success since the last look, in a thread of its own.

    `patience`: seconds that a step may take for it, or have no room for it, while neither it nor a network of it
    succeeds with anything. A step that makes progress is alive, however long the queue in front of it is.
    """

    def __init__(self, server: ControlClient, patience: float) -> None:
        self._server = server
        self._patience = patience
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="health-probe")
        self._running: Future[StepError | None] | None = None
        self._began = time.monotonic()
        self._next = self._began + EVERY
        self._seen: dict[str, int] = {}
        self._refused: dict[str, tuple[list[int], float]] = {}  # by step: progress then, and when it had no room

    def soon(self) -> None:
        """Something was started again: every step is to prove itself."""
        self._next, self._seen, self._refused = 0.0, {}, {}

    def look(self) -> StepError | None:
        """The failure that the last request found, once. CallError when the server does not answer."""
        if self._running is None and time.monotonic() >= self._next:
            self._began = time.monotonic()
            self._next = self._began + EVERY
            self._running = self._pool.submit(self._ask)
        if self._running is None or not self._running.done():
            return None
        if self._next > 0.0:  # nobody asked for another one soon
            self._next = max(self._next, self._began + (time.monotonic() - self._began) / AT_MOST)
        finished, self._running = self._running, None
        return finished.result()

    def _ask(self) -> StepError | None:
        counts = self._server.successes()
        idle = [step for step in PROBED if counts.get(step, 0) <= self._seen.get(step, 0)]
        for step in filter(self._server.ready, idle):
            before = self._progress(step)
            try:
                probe_step(self._server, step, self._patience)
            except StepError as failure:
                if self._dead(failure, before):
                    return failure
        self._seen = self._server.successes()
        return None

    def _dead(self, failure: StepError, before: list[int]) -> bool:
        """Whether `failure` is no sign of honest work; `before` is the step's progress before the request."""
        if failure.busy:
            failure.hung = self._full_and_still(failure.step, before)
        elif failure.hung:
            failure.hung = self._progress(failure.step) == before
        else:
            return not failure.passing
        return failure.hung

    def _full_and_still(self, step: str, progress: list[int]) -> bool:
        known, since = self._refused.get(step, (None, 0.0))
        if known != progress:
            self._refused[step] = (progress, time.monotonic())
            return False
        return time.monotonic() - since >= self._patience

    def _progress(self, step: str) -> list[int]:
        """Changes with whatever the step or one of its networks succeeds with, and with their being loaded again."""
        counts = self._server.successes()
        return [counts.get(model, 0) for model in (step, *networks_of(step))]
