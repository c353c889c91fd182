"""The I/O, the only thing in which the two clients differ.

What the clients do is written once, as coroutines over a transport. `AsyncTransport` (async_transport.py) is for
asyncio.
`SyncTransport` has the same methods, which block and never suspend, so `finish` runs a coroutine over it to its end
in one go.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import tritonclient.grpc
from tritonclient.grpc import InferResult
from tritonclient.utils import InferenceServerException

from . import tracing
from .address import Address
from .channel import PATIENT_KEEPALIVE, PROMPT_KEEPALIVE, befriend_gevent, channel_args, keepalive_of
from .credentials import Credentials
from .errors import ClientClosed

T = TypeVar("T")

CLOSED = "this client is closed; make another one."


class Signal(Protocol):
    """An event that one thread or task waits for, and that any may set."""

    def set(self) -> None: ...

    def clear(self) -> None: ...

    async def wait(self, seconds: float | None) -> None:
        """Until it is set, or `seconds` have passed."""
        ...


class Transport(Protocol):
    """`call` and `stream` raise tritonclient's InferenceServerException."""

    async def call(self, method: str, **arguments: Any) -> Any: ...

    def stream(self, *, client_timeout: float | None, **arguments: Any) -> AsyncGenerator[InferResult, None]:
        """The responses to one inference as they come; closing it before the last cancels the call on the server.

        The stream is ended in order before the last response is given away: Triton 24.10 never lets go of a model
        whose stream was cancelled between its last response and its end.
        """
        ...

    async def pause(self, seconds: float) -> None: ...

    async def compute(self, work: Callable[[], T]) -> T: ...

    def signal(self) -> Signal: ...

    async def close(self) -> None: ...


class SyncTransport:
    """Calls that block the calling thread; any number of threads may share one."""

    def __init__(self, address: Address, credentials: Credentials) -> None:
        befriend_gevent()
        self._address = address
        self._credentials = credentials
        self._clients = {keepalive: self._connected(keepalive) for keepalive in (PROMPT_KEEPALIVE, PATIENT_KEEPALIVE)}
        self._streams: set[_Stream] = set()
        self._closed = False
        # At the latest at the end of the process: later still, gRPC waits for ever for gevent's loop.
        self._disconnect = weakref.finalize(self, _close_all, self._clients, self._streams)

    def _connected(self, keepalive: int) -> Any:
        return tritonclient.grpc.InferenceServerClient(
            self._address.target, channel_args=channel_args(self._address, keepalive), **self._credentials.tls()
        )

    async def call(self, method: str, **arguments: Any) -> Any:
        client = self._clients.get(keepalive_of(arguments.get("client_timeout")))
        if client is None:
            raise ClientClosed(CLOSED)
        try:
            return getattr(client, method)(**with_headers(arguments, headers_of(self._credentials, method)))
        except ValueError as error:  # what gRPC raises when another thread has closed it just now
            if self._closed:
                raise ClientClosed(CLOSED) from error
            raise

    async def stream(self, *, client_timeout: float | None, **arguments: Any) -> AsyncGenerator[InferResult, None]:
        if self._closed:
            raise ClientClosed(CLOSED)
        answers: SimpleQueue[InferResult | InferenceServerException] = SimpleQueue()
        # tritonclient's holds one stream at a time; gRPC shares the connection below.
        client = self._connected(keepalive_of(client_timeout))
        self._streams.add(stream := _Stream(client))
        try:
            _from_daemon(
                partial(
                    client.start_stream,
                    lambda result, error: answers.put(result if error is None else error),
                    stream_timeout=client_timeout,
                    headers=headers_of(self._credentials, "stream_infer"),
                )
            )
            with suppress(InferenceServerException):  # the stream has ended already: `answers` will say why
                client.async_stream_infer(**arguments)
            del client  # the stream's alone, see there
            while True:
                answer = answers.get()
                failed = isinstance(answer, InferenceServerException)
                if failed or is_last(answer):
                    stream.end()
                if failed:
                    raise answer
                yield answer
        finally:
            stream.stop()
            self._streams.discard(stream)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    def signal(self) -> Signal:
        return _SyncSignal()

    async def close(self) -> None:
        self._closed = True
        self._disconnect()


class _Stream:
    """The stream of one of tritonclient's clients, of which this keeps the only reference.

    tritonclient closes its channel again as it is deleted, and under gevent's patches that never ends once gevent's
    loop is gone. So it goes as it is stopped, and not with a generator that outlives it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()  # tritonclient's cannot be stopped by two threads at once

    def end(self) -> None:
        """Wait for its end, which has come or is under way."""
        with self._lock:
            if self._client is not None:
                self._client.stop_stream()

    def stop(self) -> None:
        """Cancel what is left of it; a second time does nothing."""
        with self._lock:
            if self._client is not None:
                self._client.stop_stream(cancel_requests=True)
                self._client.close()
                self._client = None


def _close_all(clients: dict[int, Any], streams: set[_Stream]) -> None:
    for stream in list(streams):
        stream.stop()
    while clients:
        clients.popitem()[1].close()


def _from_daemon(start: Callable[[], None]) -> None:
    """Call `start` in a daemon thread, so that the threads that it starts are daemons and no process waits for them."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            start()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


class _SyncSignal:
    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.clear = self._event.clear

    async def wait(self, seconds: float | None) -> None:
        self._event.wait(seconds)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over a `SyncTransport`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking transport suspended")


def headers_of(credentials: Credentials, method: str) -> dict[str, str]:
    """What goes with a call of tritonclient's `method`: with an inference its place in a trace too."""
    traced = tracing.headers() if method in ("infer", "stream_infer") else {}
    return {**credentials.headers(method), **traced}


def with_headers(arguments: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """The arguments of a call with more `headers`."""
    return {**arguments, "headers": {**(arguments.get("headers") or {}), **headers}} if headers else arguments


def each(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an async generator over a `SyncTransport`; closing this one closes that one."""
    try:
        while True:
            yield finish(items.__anext__())
    except StopAsyncIteration:
        return
    finally:
        finish(items.aclose())


def is_last(answer: InferResult) -> bool:
    """Whether Triton says that no response to the same request comes after this one."""
    return bool(answer.get_response().parameters["triton_final_response"].bool_param)
