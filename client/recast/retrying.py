"""Calls with a deadline, typed errors and retries, over the transport of either client."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

from tritonclient.utils import InferenceServerException

from .calls import Call
from .errors import DeadlineExceeded, Overloaded, RecastError, Restarting, ServerUnavailable, translate
from .results import Edit, Progress, Status, StepStatus
from .transport import Transport

Result = TypeVar("Result")

STEPS = ("replace", "parse", "mask", "inpaint")
RETRIES = 5
"""How often a call is tried again, unless the client is told otherwise."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
AWAY_PAUSE = 1.0
"""The longest pause, in seconds, while a server is away: it is missed by no more than that."""


class Deadline:
    """A point in time `seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until then, at least 0; None when it never comes."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def arguments(self) -> dict[str, Any]:
        """tritonclient's, to give up then here, and (`timeout`, in microseconds) on the server."""
        left = self.left()
        return {"client_timeout": left, "timeout": None if left is None else max(1, int(left * 1e6))}

    def allows(self, pause: float) -> bool:
        left = self.left()
        return left is None or left > pause


def backoff(retries: int | None, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Seconds to wait before each retry: doubling, jittered so that clients turned away together part.

    None retries have no end.
    """
    for attempt in count() if retries is None else range(retries):
        yield random.uniform(0.5, 1.0) * min(FIRST_PAUSE * 2 ** min(attempt, 30), longest)


class RetryPolicy:
    """What is tried again, and after what pause.

    A call that the server refused, or had begun when it was lost, `retries` times: an edit that ends processes must
    not do so for ever. One that found the server away, until its deadline; with 0 retries not either.
    """

    def __init__(self, retries: int, deadline: Deadline) -> None:
        self._deadline = deadline
        self._bounded = backoff(retries)
        self._away = backoff(None if retries else 0, AWAY_PAUSE)

    def pause(self, error: RecastError) -> float | None:
        """Seconds to wait before the call is tried again, None to give up."""
        if not isinstance(error, Overloaded | Restarting):
            return None
        away = isinstance(error, Restarting) and not error.begun
        pause = next(self._away if away else self._bounded, None)
        return pause if pause is not None and self._deadline.allows(pause) else None


@contextmanager
def named(request_id: str | None) -> Iterator[str]:
    """The name of one call, drawn unless given; the errors that leave the block carry it as `request_id`."""
    name = request_id or uuid.uuid4().hex
    try:
        yield name
    except RecastError as error:
        error.request_id = name
        raise


@dataclass
class RetryingCalls:
    """Calls to one server over one transport; `answered` says whether it has answered any of them."""

    transport: Transport
    url: str
    timeout: float | None
    retries: int
    answered: bool = False

    async def infer(
        self, build: Callable[[], Call[Result]], timeout: float | None, request_id: str | None = None
    ) -> Result:
        """The result of a call, tried again while the server is overloaded or away and the deadline allows.

        The server's log and traces name the call by its `request_id`, drawn unless given; so do the errors raised.
        """
        deadline = self._deadline(timeout)
        with named(request_id) as name:
            call = await self.transport.compute(build)
            policy = RetryPolicy(self.retries, deadline)
            while True:
                try:
                    arguments = {**call.arguments(), **deadline.arguments(), "request_id": name}
                    answer = await self._call("infer", deadline, **arguments)
                    break
                except RecastError as error:
                    pause = policy.pause(error)
                    if pause is None:
                        raise
                    await self.transport.pause(pause)
            return await self.transport.compute(lambda: call.read(answer))

    async def stream(
        self, build: Callable[[], Call[Progress | Edit]], timeout: float | None, request_id: str | None = None
    ) -> AsyncGenerator[Progress | Edit, None]:
        """The progress of a streamed edit and at last the edit; tried again as in `infer` until the first progress."""
        deadline = self._deadline(timeout)
        begun = False
        with named(request_id) as name:
            call = await self.transport.compute(build)
            policy = RetryPolicy(self.retries, deadline)
            while True:
                try:
                    async with aclosing(self._responses(call, deadline, name)) as responses:
                        async for item in responses:
                            begun = True
                            yield item
                    return
                except RecastError as error:
                    pause = None if begun else policy.pause(error)
                    if pause is None:
                        raise
                    await self.transport.pause(pause)

    async def _responses(
        self, call: Call[Progress | Edit], deadline: Deadline, request_id: str
    ) -> AsyncGenerator[Progress | Edit, None]:
        """What the server answers to one streamed call, read; nothing comes after the edit."""
        answers = self.transport.stream(**call.arguments(), **deadline.arguments(), request_id=request_id)
        try:
            async with aclosing(answers):
                async for answer in answers:
                    self.answered = True
                    item = await self.transport.compute(partial(call.read, answer))
                    yield item
                    if isinstance(item, Edit):
                        return
        except InferenceServerException as error:
            raise self._failure(error, deadline) from error

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
            answer = await self.transport.call(method, **{"client_timeout": deadline.left()} | arguments)
        except InferenceServerException as error:
            raise self._failure(error, deadline) from error
        self.answered = True
        return answer

    def _failure(self, error: InferenceServerException, deadline: Deadline) -> RecastError:
        failure = translate(error, url=self.url, timeout=deadline.seconds, answered_before=self.answered)
        self.answered = self.answered or not isinstance(failure, ServerUnavailable | DeadlineExceeded)
        return failure

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)
