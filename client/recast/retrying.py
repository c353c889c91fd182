"""Calls with a deadline, typed errors and retries, over the transport of either client."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

from tritonclient.utils import InferenceServerException

from .calls import Call
from .deadline import Deadline, checked
from .errors import DeadlineExceeded, InvalidOption, Overloaded, RecastError, Restarting, ServerUnavailable, translate
from .results import Edit, Progress, Status, StepStatus
from .transport import Transport
from .waiting import Line, Place

Result = TypeVar("Result")

STEPS = ("replace", "parse", "mask", "inpaint")
RETRIES = 5
"""How often a lost call is tried again, unless the client is told otherwise."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
AWAY_PAUSE = 1.0
"""The longest pause, in seconds, while a server is away: it is missed by no more than that."""


def backoff(retries: int | None, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Seconds to wait before each retry: doubling, jittered so that clients turned away together part.

    None retries have no end.
    """
    for attempt in count() if retries is None else range(retries):
        yield random.uniform(0.5, 1.0) * min(FIRST_PAUSE * 2 ** min(attempt, 30), longest)


class Tries:
    """When the tries of one call begin, and which error is the last.

    A call that the server refused because it is full waits its turn in the client's line until its deadline. One
    that was lost when the server had begun is tried again `retries` times: an edit that ends processes must not do
    so for ever. One that found the server away, until its deadline. With 0 retries there is one try.
    """

    def __init__(self, transport: Transport, line: Line, retries: int, deadline: Deadline) -> None:
        self._transport = transport
        self._line = line
        self._place = Place(transport.signal())
        self._retries = retries
        self._deadline = deadline
        self._lost = backoff(retries)
        self._away = backoff(None if retries else 0, AWAY_PAUSE)

    def asking(self) -> AbstractContextManager[None]:
        """Around each try."""
        return self._line.asking(self._place)

    async def first(self) -> None:
        """Wait behind those calls of this client that already wait for a place; raises Overloaded at the deadline."""
        self._deadline.check()
        if self._retries and len(self._line):
            await self._turn(Overloaded("older calls of this client wait for a place too; allow more time."))

    async def after(self, error: RecastError) -> None:
        """Wait until the call may be tried again after `error`; raises what its caller shall see when it may not."""
        if isinstance(error, Overloaded) and self._retries:
            await self._turn(error)
            return
        pause = self._pause(error)
        if pause is None:
            raise error
        await self._transport.pause(pause)
        if self._deadline.is_near():
            raise error

    async def _turn(self, error: Overloaded) -> None:
        if not await self._line.turn(self._place, self._deadline):
            times = f"asked {self._place.asked} times"
            waited = f"no place came free within {self._place.waited():.3g} s ({times})"
            raise Overloaded(f"{waited}: {error.sentence}") from error

    def _pause(self, error: RecastError) -> float | None:
        if not isinstance(error, Restarting):
            return None
        pause = next(self._lost if error.begun else self._away, None)
        return pause if pause is not None and self._deadline.allows(pause) else None


@contextmanager
def named(request_id: str | None) -> Iterator[str]:
    """The name of one call, drawn unless given; the errors that leave the block carry it as `request_id`."""
    if not isinstance(request_id, (str, type(None))):
        raise InvalidOption(f"request_id is {request_id!r}; it is text.")
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
    _lines: dict[str, Line] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.timeout = checked(self.timeout)
        if not isinstance(self.retries, int) or self.retries < 0:
            raise InvalidOption(f"retries is {self.retries!r}; it is a number of tries, 0 or more.")

    async def infer(
        self, build: Callable[[], Call[Result]], timeout: float | None, request_id: str | None = None
    ) -> Result:
        """The result of a call, tried again while the server is overloaded or away and the deadline allows.

        The server's log and traces name the call by its `request_id`, drawn unless given; so do the errors raised.
        """
        deadline = self._deadline(timeout)
        with named(request_id) as name:
            call = await self.transport.compute(build)
            tries = self._tries(call, deadline)
            await tries.first()
            while True:
                try:
                    with tries.asking():
                        arguments = {**call.arguments(), **deadline.arguments(), "request_id": name}
                        answer = await self._call("infer", deadline, **arguments)
                    break
                except RecastError as error:
                    await tries.after(error)
            return await self.transport.compute(lambda: call.read(answer))

    async def stream(
        self, build: Callable[[], Call[Progress | Edit]], timeout: float | None, request_id: str | None = None
    ) -> AsyncGenerator[Progress | Edit, None]:
        """The progress of a streamed edit and at last the edit; tried again as in `infer` until the first progress."""
        deadline = self._deadline(timeout)
        begun = False
        with named(request_id) as name:
            call = await self.transport.compute(build)
            tries = self._tries(call, deadline)
            await tries.first()
            while True:
                try:
                    with tries.asking():
                        async with aclosing(self._responses(call, deadline, name)) as responses:
                            async for item in responses:
                                begun = True
                                yield item
                    return
                except RecastError as error:
                    if begun:
                        raise
                    await tries.after(error)

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
            answer = await self.transport.call(method, **{"client_timeout": deadline.patience()} | arguments)
        except InferenceServerException as error:
            raise self._failure(error, deadline) from error
        self.answered = True
        return answer

    def _failure(self, error: InferenceServerException, deadline: Deadline) -> RecastError:
        failure = translate(
            error,
            url=self.url,
            timeout=deadline.seconds,
            answered_before=self.answered,
            late=deadline.is_near(),
        )
        self.answered = self.answered or not isinstance(failure, ServerUnavailable | DeadlineExceeded)
        return failure

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else checked(timeout))

    def _tries(self, call: Call[Any], deadline: Deadline) -> Tries:
        return Tries(self.transport, self._lines.setdefault(call.rivals, Line()), self.retries, deadline)
