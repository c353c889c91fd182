"""The transport for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import tritonclient.grpc.aio
from tritonclient.grpc import InferResult
from tritonclient.utils import InferenceServerException

from .address import Address
from .channel import channel_args, keepalive_of
from .credentials import Credentials
from .errors import ClientClosed
from .transport import CLOSED, Signal, headers_of, is_last, with_headers

T = TypeVar("T")

SETTLED = 1.0
"""Seconds for which a call goes on whose task was cancelled: a tritonserver 24.10 dies of calls that are cancelled as
they arrive, and does not tell its models of a later cancellation either."""


class AsyncTransport:
    """Calls that await, and work that would hold up the event loop in a thread.

    A gRPC channel belongs to the event loop that runs when it is made, so each loop has its own.
    """

    def __init__(self, address: Address, credentials: Credentials) -> None:
        self._address = address
        self._credentials = credentials
        self._clients: dict[asyncio.AbstractEventLoop, dict[int, Any]] = {}
        self._left: set[asyncio.Future[Any]] = set()
        self._closed = False

    def _connected(self, seconds: float | None) -> Any:
        """The running loop's client for a call of `seconds`."""
        if self._closed:
            raise ClientClosed(CLOSED)
        loop, keepalive = asyncio.get_running_loop(), keepalive_of(seconds)
        for ended in [each for each in list(self._clients) if each.is_closed()]:
            self._clients.pop(ended, None)
        clients = self._clients.setdefault(loop, {})
        if keepalive not in clients:
            clients[keepalive] = tritonclient.grpc.aio.InferenceServerClient(
                self._address.target, channel_args=channel_args(self._address, keepalive), **self._credentials.tls()
            )
        return clients[keepalive]

    async def call(self, method: str, **arguments: Any) -> Any:
        client = self._connected(arguments.get("client_timeout"))
        headers = headers_of(self._credentials, method)
        call = asyncio.ensure_future(getattr(client, method)(**with_headers(arguments, headers)))
        start = time.monotonic()
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if not call.done():
                self._leave(call, start + SETTLED - time.monotonic())
            raise

    def _leave(self, call: asyncio.Future[Any], seconds: float) -> None:
        """Cancel a call that nobody waits for any more, in `seconds`."""
        self._left.add(call)

        def forget(_: asyncio.Future[Any]) -> None:
            self._left.discard(call)
            if not call.cancelled():
                call.exception()  # so that asyncio does not complain that nobody has seen it

        call.add_done_callback(forget)
        call.get_loop().call_later(max(0.0, seconds), call.cancel)

    async def stream(self, *, client_timeout: float | None, **arguments: Any) -> AsyncGenerator[InferResult, None]:
        answers = self._connected(client_timeout).stream_infer(
            _alone(arguments), stream_timeout=client_timeout, headers=headers_of(self._credentials, "stream_infer")
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

    def signal(self) -> Signal:
        return _AsyncSignal()

    async def close(self) -> None:
        self._closed = True
        loop = asyncio.get_running_loop()
        left = [call for call in self._left if call.get_loop() is loop]
        if left:
            await asyncio.wait(left, timeout=SETTLED)
        for client in self._clients.pop(loop, {}).values():
            await client.close()


class _AsyncSignal:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        with suppress(RuntimeError):  # its loop has ended, and who waited in it
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        self._event.clear()

    async def wait(self, seconds: float | None) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)


async def _alone(item: T) -> AsyncIterator[T]:
    yield item
