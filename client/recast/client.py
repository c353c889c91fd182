"""`Client` blocks, `AsyncClient` awaits; apart from that they are the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from . import calls
from .address import EXAMPLE, address
from .async_transport import AsyncTransport
from .control import Control
from .credentials import Credentials
from .options import EditOptions, StreamOptions, check_names
from .pictures import Picture
from .results import Edit, MaskResult, ParseResult, Progress, Status
from .retrying import RETRIES, RetryingCalls
from .transport import SyncTransport, each, finish

if TYPE_CHECKING:  # so that Python 3.10, whose typing has no Unpack, needs no further package
    from typing_extensions import Unpack

DEFAULT_URL = EXAMPLE
DEFAULT_TIMEOUT = 120.0


class _Calls:
    """What both clients are: calls to one server. A wrong keyword is a TypeError before anything is sent."""

    _transport: ClassVar[type[SyncTransport] | type[AsyncTransport]]

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = RETRIES,
        credentials: Credentials | None = None,
    ) -> None:
        at = address(url)
        transport = self._transport(at, credentials or Credentials())
        self._server = RetryingCalls(transport, at.target, timeout, retries)

    def _replace(self, image: Picture, prompt: str, options: EditOptions) -> Coroutine[Any, Any, Edit]:
        check_names(options, EditOptions)
        build = partial(calls.replace, image, prompt, options)
        return self._server.infer(build, options.get("timeout"), options.get("request_id"))

    def _replace_stream(
        self, image: Picture, prompt: str, options: StreamOptions
    ) -> AsyncGenerator[Progress | Edit, None]:
        check_names(options, StreamOptions)
        build = partial(calls.replace_stream, image, prompt, options)
        return self._server.stream(build, options.get("timeout"), options.get("request_id"))

    def _parse(self, prompt: str, timeout: float | None, request_id: str | None) -> Coroutine[Any, Any, ParseResult]:
        return self._server.infer(partial(calls.parse, prompt), timeout, request_id)

    def _mask(
        self, image: Picture, target: str, intent: str | None, timeout: float | None, request_id: str | None
    ) -> Coroutine[Any, Any, MaskResult]:
        return self._server.infer(partial(calls.mask, image, target, intent=intent), timeout, request_id)


class Client(_Calls):
    """A Recast server. Any number of threads may share one client; it is a context manager.

    Args:
        url: host:port of the server's gRPC port; a host alone means port 8001. Also [::1]:port, grpc://host:port,
            dns:///host:port and unix:/path.
        timeout: seconds that a call may take, waiting and retries included; None and inf are no limit. Each call may
            set its own. A server that answers nothing at all is given up 2 s later.
        retries: how often a call is tried again that was lost in a restart of the server or of one of its processes.
            While the server is full, and while one that has answered before is away, calls wait until their timeout,
            the oldest first. 0 switches all of it off; other errors are never tried again.
        credentials: keys, and the files that turn TLS on; None is neither.

    Every method raises a `RecastError`, whose subclasses say what went wrong (see `recast.errors`).
    """

    _transport = SyncTransport

    def replace(self, image: Picture, prompt: str, **options: Unpack[EditOptions]) -> Edit:
        """Edit a picture as one sentence says.

        Args:
            image: a path, the bytes of a PNG, JPEG, WebP, AVIF, HEIC or TIFF file, a PIL image, or an array: uint8,
                [height, width, 3] or [height, width].
            prompt: one sentence, such as "Replace the car with a bicycle".
            seed (int): repeats an edit; by default one is drawn, which the result tells. Variants take seed,
                seed + 1, …; one that was painted again has another, which repeats it with max_attempts=1.
            num_inference_steps (int): denoising steps. Where no default is named here, the server has one, and None
                means it.
            guidance_scale (float): how closely the replacement follows the words.
            strength (float): above 0, up to 1: the share of the denoising steps that are done, as in diffusers. At 1
                from noise alone; below it from the picture with noise, so that the old thing's structure stays. By
                default 1, and less for a new material ("make the chair wooden").
            negative_prompt (str): what must not appear.
            num_images (int): how many variants.
            max_attempts (int): how often the server may paint a variant, each time from another seed, until it sees
                what was asked for; 1 keeps the first whatever it is.
            priority (str): "interactive", or "bulk" for an edit that nobody sits and waits for: the first to be
                refused.
            canary_key (str): edits with the same one, such as a user's name, come from the same release while a
                canary runs. By default the picture decides.
            timeout (float): seconds for this call, in place of the client's.
            request_id (str): names the call in the server's log and traces; by default one is drawn, which the result
                and errors tell.

        Raises:
            RecastError: with a subclass for each reason.
            OSError: the picture's file cannot be read.
        """
        return finish(self._replace(image, prompt, options))

    def replace_stream(
        self, image: Picture, prompt: str, **options: Unpack[StreamOptions]
    ) -> Generator[Progress | Edit, None, None]:
        """`replace`, step by step: a `Progress` after each step, and at last the `Edit`, the same to the byte.

        The work goes on while the iterator lives. Closing it (leaving the loop does so too), Ctrl-C and the end of
        the process stop it on the server within one step.

        Args:
            preview_side (int): pixels a side of a small picture with each denoising step, which costs a decoding each;
                by default there is none.

        The other arguments, and the errors, are those of `replace`.
        """
        return each(self._replace_stream(image, prompt, options))

    def parse(self, prompt: str, *, timeout: float | None = None, request_id: str | None = None) -> ParseResult:
        """What a sentence asks for, without a picture."""
        return finish(self._parse(prompt, timeout, request_id))

    def mask(
        self,
        image: Picture,
        target: str,
        *,
        intent: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> MaskResult:
        """Where the object named by `target` is; `intent` shapes the mask as in an edit."""
        return finish(self._mask(image, target, intent, timeout, request_id))

    def status(self, *, timeout: float | None = None) -> Status:
        """Whether the server can take an edit, and the releases of its steps."""
        return finish(self._server.status(timeout))

    @property
    def control(self) -> Control:
        """Model control, for an operator whose credentials have the admin key."""
        return Control(self._server.transport, self._server.url)

    def close(self) -> None:
        """End the streams and close the connection, for good."""
        finish(self._server.transport.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Calls):
    """`Client` for asyncio: the same arguments, methods and errors.

    Any number of tasks may share it, in one event loop after another too; `close` is for good.
    """

    _transport = AsyncTransport

    async def replace(self, image: Picture, prompt: str, **options: Unpack[EditOptions]) -> Edit:
        """See `Client.replace`."""
        return await self._replace(image, prompt, options)

    def replace_stream(
        self, image: Picture, prompt: str, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[Progress | Edit, None]:
        """See `Client.replace_stream`. Cancelling the task stops the work too; `contextlib.aclosing` does at once."""
        return self._replace_stream(image, prompt, options)

    async def parse(self, prompt: str, *, timeout: float | None = None, request_id: str | None = None) -> ParseResult:
        """See `Client.parse`."""
        return await self._parse(prompt, timeout, request_id)

    async def mask(
        self,
        image: Picture,
        target: str,
        *,
        intent: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> MaskResult:
        """See `Client.mask`."""
        return await self._mask(image, target, intent, timeout, request_id)

    async def status(self, *, timeout: float | None = None) -> Status:
        """See `Client.status`."""
        return await self._server.status(timeout)

    async def close(self) -> None:
        """Close the connection."""
        await self._server.transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
