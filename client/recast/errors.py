"""What can go wrong, one class for each error name, and the one place that tells which it was.

RecastError
├── InvalidRequest        the server refuses the request's shape or types
│   ├── InvalidImage      unreadable, too large, of a kind that cannot be edited
│   ├── InvalidPrompt     empty, too long, not text
│   ├── InvalidOption     seed, steps, guidance … out of range
│   └── NotAnEdit         the sentence names nothing to replace
├── ObjectNotFound        no region of the picture reaches the threshold
├── Overloaded            the server's queue is full; tried again until the deadline
├── DeadlineExceeded      no answer within the timeout
├── Cancelled             the call was cancelled
├── ServerUnavailable     nobody answers there, or it does not serve Recast
│   └── Restarting        the server, or a process of it, ended or stops and another starts; tried again
├── ClientClosed          the client was used after its close()
├── AccessDenied          a key or a certificate is missing or wrong, or TLS is
└── InternalError         the server failed; its log says why
"""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException


class RecastError(Exception):
    """Base of every error. `name` is the error's name in the contract, `sentence` says why and what to do.

    `request_id` is the name of the call in the server's log; "" for one that was no inference.
    """

    name = "error"
    request_id = ""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class InvalidRequest(RecastError):
    name = "invalid_request"


class InvalidImage(InvalidRequest):
    name = "invalid_image"


class InvalidPrompt(InvalidRequest):
    name = "invalid_prompt"


class InvalidOption(InvalidRequest):
    name = "invalid_option"


class NotAnEdit(InvalidRequest):
    name = "not_an_edit"


class ObjectNotFound(RecastError):
    name = "object_not_found"


class Overloaded(RecastError):
    name = "overloaded"


class DeadlineExceeded(RecastError):
    name = "deadline_exceeded"


class Cancelled(RecastError):
    name = "cancelled"


class ServerUnavailable(RecastError):
    name = "server_unavailable"


class Restarting(ServerUnavailable):
    """`begun` says whether the server may have begun to work on the call before it was lost."""

    name = "restarting"

    def __init__(self, sentence: str, *, begun: bool = True) -> None:
        super().__init__(sentence)
        self.begun = begun


class ClientClosed(RecastError):
    name = "client_closed"


class AccessDenied(RecastError):
    name = "access_denied"


class InternalError(RecastError):
    name = "internal"


_NAMED: dict[str, type[RecastError]] = {
    kind.name: kind
    for kind in (
        InvalidImage,
        InvalidPrompt,
        InvalidOption,
        NotAnEdit,
        ObjectNotFound,
        Overloaded,
        Cancelled,
        Restarting,
        InternalError,
    )
}
_BY_STATUS: dict[str, type[RecastError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "RESOURCE_EXHAUSTED": InvalidRequest,
    "CANCELLED": Cancelled,
    "UNAVAILABLE": ServerUnavailable,
    "UNAUTHENTICATED": AccessDenied,
    "PERMISSION_DENIED": AccessDenied,
}
_MESSAGE = re.compile(r"(?:\[request id: [^\]]*\] )?(?:in ensemble '[^']*', )*(?P<rest>.*)", re.DOTALL)
_NAME = re.compile(r"(?P<name>[a-z_]+): (?P<sentence>.+)", re.DOTALL)
# A queue of Triton itself turns a request away before any code of ours could name the error.
_QUEUE = "exceeds maximum queue size"
# ... after a while: that of the queue itself, or what the caller allowed.
_WAITED = "request timeout expired"
# A step of ours that stops itself at the caller's deadline.
_LATE = "cancelled: the deadline passed"
_NOBODY = ("failed to connect", "resolution failed", "errors resolving", "connection refused")
_HTTP = ("http1.x server", "expected settings frame")
_RESTRICTED = "protocol is restricted"
_DISTRUST = "certificate_verify_failed"
_NO_TLS = ("ssl_error_ssl", "security handshaker")
_HUNG_UP = "socket closed"
_DEAD_PROCESS = "is not healthy"
_STOPPING = ("has no available versions", "server is stopping", "not ready")
_UNKNOWN_MODEL = "unknown model"
# Triton's word for a request without any input of a model; where some are there, the step names those that are not.
_MISSING = re.compile(r"missing required input\(s\) \['(?P<input>\w+)'")
_OF_INPUT: dict[str, type[RecastError]] = {"image": InvalidImage, "prompt": InvalidPrompt}


def no_answer(timeout: float | None) -> str:
    """The sentence of a deadline of `timeout` seconds that has passed."""
    limit = "the deadline" if timeout is None else f"{timeout:g} s"
    return f"no answer came within {limit}; allow more time or ask for fewer steps."


def translate(
    error: InferenceServerException,
    *,
    url: str,
    timeout: float | None,
    answered_before: bool = False,
    late: bool = False,
) -> RecastError:
    """The error that a failed call to `url` with a deadline of `timeout` seconds means.

    `answered_before`: this server has, so that it is away for a while when nobody answers now. `late`: the deadline
    has passed.
    """
    status = (error.status() or "").removeprefix("StatusCode.")
    prefixed = _MESSAGE.match(error.message() or "")
    message = prefixed["rest"].strip() if prefixed else ""
    named = _NAME.fullmatch(message)
    stopped = message.startswith(_LATE)
    if named and named["name"] in _NAMED and not stopped:
        return _NAMED[named["name"]](named["sentence"])
    lowered = message.lower()
    if _QUEUE in lowered or (_WAITED in lowered and not late):
        return Overloaded("the server's queue is full; try again in a moment.")
    missing = _MISSING.search(message)
    if missing:
        return _OF_INPUT.get(missing["input"], InvalidOption)(f"the input '{missing['input']}' is missing.")
    if _DEAD_PROCESS in lowered:
        return Restarting("the server's process that had the call ended; another starts: try again in a moment.")
    if any(words in lowered for words in _STOPPING):
        return Restarting(f"the server at {url} stops or starts; try again in a moment.", begun=False)
    if _UNKNOWN_MODEL in lowered:
        return ServerUnavailable(f"the server at {url} does not serve this: {message}.")
    if stopped or _WAITED in lowered or status == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(no_answer(timeout))
    if status == "UNAVAILABLE":
        lost = Restarting(f"the connection to {url} was lost; try again: {message}")
        return _unavailable(lowered, url, answered_before=answered_before) or lost
    if status == "UNIMPLEMENTED":
        return ServerUnavailable(f"{url} answers, but is no Triton server; name another address (--url).")
    return _BY_STATUS.get(status, InternalError)(message or f"the call failed with {status or 'no status'}.")


def _unavailable(lowered: str, url: str, *, answered_before: bool) -> RecastError | None:
    """Why the call reached nobody, or None when it was lost on its way."""
    if _RESTRICTED in lowered:
        return AccessDenied(f"the server at {url} does this only with its admin key (RECAST_ADMIN_KEY).")
    if any(words in lowered for words in _HTTP):
        return ServerUnavailable(f"{url} speaks HTTP, not gRPC; Triton's gRPC port is usually 8001 (--url).")
    if _DISTRUST in lowered:
        return AccessDenied(f"the certificate of {url} is for another name, or not of the authorities in --tls-ca.")
    if any(words in lowered for words in _NO_TLS):
        return AccessDenied(f"{url} agrees on no TLS: it speaks none, or a file of --tls-ca, --tls-cert is no PEM.")
    if not any(words in lowered for words in _NOBODY):
        return None
    if answered_before:
        return Restarting(f"the server at {url} is away; try again in a moment.", begun=False)
    if _HUNG_UP in lowered:
        return AccessDenied(f"{url} hangs up before a word: it wants TLS (--tls-ca) or a certificate (--tls-cert).")
    return ServerUnavailable(
        f"no gRPC server answers at {url}; start it with `make serve`, "
        "or name another address with --url or RECAST_URL."
    )
