"""`Client` blocks, `AsyncClient` awaits; apart from that they are the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from functools import partial
from types import TracebackType

from . import calls
from .control import Control
from .conversation import Conversation
from .credentials import Credentials
from .pictures import Picture
from .results import Edit, MaskResult, ParseResult, Progress, Status
from .transport import Blocking, Waiting, each, finish

DEFAULT_URL = "localhost:8001"
DEFAULT_TIMEOUT = 120.0


class Client:
    """A Recast server. Any number of threads may share one client; it is a context manager.

    Args:
        url: host:port of the server's gRPC port.
        timeout: seconds that a call may take, retries included; None is no limit. Each call may set its own.
        retries: how often a call is tried again that the server was too busy for, or that was lost in a restart of
            it or of one of its processes. While a server that has answered before is away, calls wait until their
            timeout. 0 switches both off; other errors are never tried again.
        credentials: keys, and the files that turn TLS on; None is neither.

    Every method raises a `RecastError`, whose subclasses say what went wrong (see `recast.errors`).
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = 5,
        credentials: Credentials | None = None,
    ) -> None:
        transport = Blocking(url, credentials or Credentials())
        self._server = Conversation(transport, url, timeout, retries)

    def replace(
        self,
        image: Picture,
        prompt: str,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_images: int | None = None,
        priority: str | None = None,
        canary_key: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Edit:
        """Edit a picture as one sentence says.

        Args:
            image: a path, the bytes of a PNG, JPEG or WebP file, or a PIL image.
            prompt: one sentence, such as "Replace the car with a bicycle".
            seed: repeats an edit; None draws one, which the result tells. Variants take seed, seed + 1, …
            num_inference_steps: denoising steps. Like every option, None means the server's default.
            guidance_scale: how closely the replacement follows the words.
            negative_prompt: what must not appear.
            num_images: how many variants.
            priority: "interactive", or "bulk" for an edit that nobody sits and waits for: the first to be refused.
            canary_key: edits with the same one, such as a user's name, come from the same release while a canary runs.
                None decides by the picture.
            timeout: seconds for this call, in place of the client's.
            request_id: names the call in the server's log and traces; None draws one, which result and errors tell.

        Raises:
            RecastError: with a subclass for each reason.
            OSError: the picture's file cannot be read.
        """
        build = partial(
            calls.replace,
            image,
            prompt,
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            num_images=num_images,
            priority=priority,
            canary_key=canary_key,
        )
        return finish(self._server.ask(build, timeout, request_id))

    def replace_stream(
        self,
        image: Picture,
        prompt: str,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_images: int | None = None,
        priority: str | None = None,
        canary_key: str | None = None,
        preview_side: int | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Generator[Progress | Edit, None, None]:
        """`replace`, step by step: a `Progress` after each step, and at last the `Edit`, the same to the byte.

        The work goes on while the iterator lives. Closing it (leaving the loop does so too), Ctrl-C and the end of
        the process stop it on the server within one step.

        Args:
            preview_side: pixels a side of a small picture with each denoising step, which costs a decoding each.

        The other arguments, and the errors, are those of `replace`.
        """
        build = partial(
            calls.replace_stream,
            image,
            prompt,
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            num_images=num_images,
            priority=priority,
            canary_key=canary_key,
            preview_side=preview_side,
        )
        return each(self._server.follow(build, timeout, request_id))

    def parse(self, prompt: str, *, timeout: float | None = None, request_id: str | None = None) -> ParseResult:
        """What a sentence asks for, without a picture."""
        return finish(self._server.ask(partial(calls.parse, prompt), timeout, request_id))

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
        build = partial(calls.mask, image, target, intent=intent)
        return finish(self._server.ask(build, timeout, request_id))

    def status(self, *, timeout: float | None = None) -> Status:
        """Whether the server can take an edit, and the releases of its steps."""
        return finish(self._server.status(timeout))

    @property
    def control(self) -> Control:
        """Model control, for an operator whose credentials have the admin key."""
        return Control(self._server.transport, self._server.url)

    def close(self) -> None:
        """Close the connection."""
        finish(self._server.transport.close())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods and errors. The tasks of one loop may share it."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = 5,
        credentials: Credentials | None = None,
    ) -> None:
        transport = Waiting(url, credentials or Credentials())
        self._server = Conversation(transport, url, timeout, retries)

    async def replace(
        self,
        image: Picture,
        prompt: str,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_images: int | None = None,
        priority: str | None = None,
        canary_key: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Edit:
        """See `Client.replace`."""
        build = partial(
            calls.replace,
            image,
            prompt,
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            num_images=num_images,
            priority=priority,
            canary_key=canary_key,
        )
        return await self._server.ask(build, timeout, request_id)

    def replace_stream(
        self,
        image: Picture,
        prompt: str,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        num_images: int | None = None,
        priority: str | None = None,
        canary_key: str | None = None,
        preview_side: int | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[Progress | Edit, None]:
        """See `Client.replace_stream`. Cancelling the task stops the work too; `contextlib.aclosing` does at once."""
        build = partial(
            calls.replace_stream,
            image,
            prompt,
            seed=seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            num_images=num_images,
            priority=priority,
            canary_key=canary_key,
            preview_side=preview_side,
        )
        return self._server.follow(build, timeout, request_id)

    async def parse(self, prompt: str, *, timeout: float | None = None, request_id: str | None = None) -> ParseResult:
        """See `Client.parse`."""
        return await self._server.ask(partial(calls.parse, prompt), timeout, request_id)

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
        build = partial(calls.mask, image, target, intent=intent)
        return await self._server.ask(build, timeout, request_id)

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
