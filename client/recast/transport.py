"""The I/O, the only thing in which the two clients differ.

What the clients do is written once, as coroutines over a transport. `Waiting` is for asyncio. `Blocking` has
the same methods, which block and never suspend, so `finish` runs a coroutine over it to its end in one go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE

from .credentials import Credentials

T = TypeVar("T")


class Transport(Protocol):
    """`call` raises tritonclient's InferenceServerException."""

    async def call(self, method: str, **arguments: Any) -> Any: ...

    async def pause(self, seconds: float) -> None: ...

    async def compute(self, work: Callable[[], T]) -> T: ...

    async def close(self) -> None: ...


class Blocking:
    """Calls that block the calling thread; any number of threads may share one."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._credentials = credentials
        self._client = tritonclient.grpc.InferenceServerClient(url, channel_args=channel_args(url), **credentials.tls())

    async def call(self, method: str, **arguments: Any) -> Any:
        return getattr(self._client, method)(**_with_headers(arguments, self._credentials.headers(method)))

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        self._client.close()


class Waiting:
    """Calls that await, and work that would hold up the event loop in a thread."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._url = url
        self._credentials = credentials
        self._client: Any = None

    async def call(self, method: str, **arguments: Any) -> Any:
        if self._client is None:
            # Only now: a gRPC channel belongs to the event loop that runs when it is made.
            self._client = tritonclient.grpc.aio.InferenceServerClient(
                self._url, channel_args=channel_args(self._url), **self._credentials.tls()
            )
        return await getattr(self._client, method)(**_with_headers(arguments, self._credentials.headers(method)))

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over a `Blocking` transport."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking transport suspended")


def _with_headers(arguments: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """The arguments of a call with more `headers`."""
    return {**arguments, "headers": {**(arguments.get("headers") or {}), **headers}} if headers else arguments


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
