"""How a call is held: deadline, translated errors, retry of `overloaded` alone. Shared by both clients."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from tritonclient.utils import InferenceServerException

from .calls import Call
from .errors import Overloaded, ServerUnavailable, translate
from .results import Status, StepStatus
from .transport import Transport

Result = TypeVar("Result")

STEPS = ("replace", "parse", "mask", "inpaint")
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


class Deadline:
    """A point in time `seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until then, at least 0; None when it never comes."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def allows(self, pause: float) -> bool:
        left = self.left()
        return left is None or left > pause


def backoff(retries: int) -> Iterator[float]:
    """Seconds to wait before each retry: doubling, jittered so that clients turned away together part."""
    for attempt in range(retries):
        yield random.uniform(0.5, 1.0) * min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)


@dataclass(frozen=True)
class Conversation:
    """Calls to one server over one transport."""

    transport: Transport
    url: str
    timeout: float | None
    retries: int

    async def ask(self, build: Callable[[], Call[Result]], timeout: float | None) -> Result:
        """The result of a call, tried again while the server is overloaded and the deadline allows."""
        deadline = self._deadline(timeout)
        call = await self.transport.compute(build)
        pauses = backoff(self.retries)
        while True:
            try:
                answer = await self._call("infer", deadline, model_name=call.model, inputs=call.inputs)
                break
            except Overloaded:
                pause = next(pauses, None)
                if pause is None or not deadline.allows(pause):
                    raise
                await self.transport.pause(pause)
        return await self.transport.compute(lambda: call.read(answer))

    async def status(self, timeout: float | None) -> Status:
        """How the server is. Uses nothing that an operator restricts, such as the repository's index."""
        deadline = self._deadline(timeout)
        server = await self._call("get_server_metadata", deadline)
        steps = {name: await self._step(name, deadline) for name in STEPS}
        return Status(ready=steps["replace"].ready, server=f"{server.name} {server.version}", steps=steps)

    async def _step(self, name: str, deadline: Deadline) -> StepStatus:
        if not await self._call("is_model_ready", deadline, model_name=name):
            return StepStatus(ready=False, releases=())
        try:
            metadata = await self._call("get_model_metadata", deadline, model_name=name)
        except ServerUnavailable:  # unloaded between the two calls
            return StepStatus(ready=False, releases=())
        return StepStatus(ready=True, releases=tuple(sorted(int(version) for version in metadata.versions)))

    async def _call(self, method: str, deadline: Deadline, **arguments: Any) -> Any:
        try:
            return await self.transport.call(method, client_timeout=deadline.left(), **arguments)
        except InferenceServerException as error:
            raise translate(error, url=self.url, timeout=deadline.seconds) from error

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)
