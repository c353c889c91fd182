"""The I/O, the only thing in which the two clients differ.

What the clients do is written once, as coroutines over a transport. `AsyncTransport` is for asyncio.
`SyncTransport` has the same methods, which block and never suspend, so `finish` runs a coroutine over it to its end
in one go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import grpc
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE, InferResult
from tritonclient.utils import InferenceServerException

from . import tracing
from .credentials import Credentials

T = TypeVar("T")


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

    async def close(self) -> None: ...


class SyncTransport:
    """Calls that block the calling thread; any number of threads may share one."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._url = url
        self._credentials = credentials
        self._client = self._connected()

    def _connected(self) -> Any:
        return tritonclient.grpc.InferenceServerClient(
            self._url, channel_args=channel_args(self._url), **self._credentials.tls()
        )

    async def call(self, method: str, **arguments: Any) -> Any:
        return getattr(self._client, method)(**_with_headers(arguments, _headers(self._credentials, method)))

    async def stream(self, *, client_timeout: float | None, **arguments: Any) -> AsyncGenerator[InferResult, None]:
        answers: SimpleQueue[InferResult | InferenceServerException] = SimpleQueue()
        client = self._connected()  # tritonclient's holds one stream at a time; gRPC shares the connection below
        try:
            client.start_stream(
                lambda result, error: answers.put(result if error is None else error),
                stream_timeout=client_timeout,
                headers=_headers(self._credentials, "stream_infer"),
            )
            with suppress(InferenceServerException):  # the stream has ended already: `answers` will say why
                client.async_stream_infer(**arguments)
            while True:
                answer = answers.get()
                failed = isinstance(answer, InferenceServerException)
                if failed or is_last(answer):
                    client.stop_stream()
                if failed:
                    raise answer
                yield answer
        finally:
            client.stop_stream(cancel_requests=True)
            client.close()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        self._client.close()


class AsyncTransport:
    """Calls that await, and work that would hold up the event loop in a thread."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._url = url
        self._credentials = credentials
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is None:
            # Only now: a gRPC channel belongs to the event loop that runs when it is made.
            self._client = tritonclient.grpc.aio.InferenceServerClient(
                self._url, channel_args=channel_args(self._url), **self._credentials.tls()
            )
        return self._client

    async def call(self, method: str, **arguments: Any) -> Any:
        return await getattr(self._connected(), method)(**_with_headers(arguments, _headers(self._credentials, method)))

    async def stream(self, *, client_timeout: float | None, **arguments: Any) -> AsyncGenerator[InferResult, None]:
        answers = self._connected().stream_infer(
            _alone(arguments), stream_timeout=client_timeout, headers=_headers(self._credentials, "stream_infer")
        )
        try:
            async for result, error in answers:
                if error is not None or is_last(result):
                    async for _ in answers:  # nothing but the end
                        pass
                if error is not None:
                    raise error
                yield result
        except grpc.RpcError as error:  # which tritonclient translates everywhere else
            raise InferenceServerException(msg=error.details(), status=str(error.code())) from error
        finally:
            answers.cancel()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over a `SyncTransport`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking transport suspended")


def _headers(credentials: Credentials, method: str) -> dict[str, str]:
    """What goes with a call of tritonclient's `method`: with an inference its place in a trace too."""
    traced = tracing.headers() if method in ("infer", "stream_infer") else {}
    return {**credentials.headers(method), **traced}


def _with_headers(arguments: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
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


async def _alone(item: T) -> AsyncIterator[T]:
    yield item


def channel_args(url: str) -> list[tuple[str, int]]:
    """gRPC channel options. Giving any replaces tritonclient's own, so its message limits come along."""
    arguments = [
        ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
        ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
        # A server that restarts is found again within seconds; gRPC alone would wait up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if url.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
        # An http_proxy variable would otherwise catch calls to this very machine.
        arguments.append(("grpc.enable_http_proxy", 0))
    return arguments
