"""The errors of `serving.errors` as Triton carries them: status codes, prefixes, and Triton's own wordings."""

import re

from serving.errors import EditError

CODES = {
    "invalid_image": "INVALID_ARG",
    "invalid_prompt": "INVALID_ARG",
    "invalid_option": "INVALID_ARG",
    "not_an_edit": "INVALID_ARG",
    "object_not_found": "NOT_FOUND",
    "overloaded": "UNAVAILABLE",
    "restarting": "UNAVAILABLE",
    "cancelled": "CANCELLED",
    "internal": "INTERNAL",
}
"""By the error's name, the name of the Triton code that carries it: an attribute of `TritonError`."""
_PREFIX = re.compile(r"\A(?:\[request id: [^\]]*\] )?(?:in ensemble '[^']*', )*")

# Triton's words for a model whose process is dead, and for one that is not there between an unload and a load.
_AWAY = ("is not healthy", "not ready", "has no available versions", "is stopping")
# Its words for one whose queue is full, and for a request that waited there for longer than it may.
_BUSY = ("exceeds maximum queue size", "request timeout expired")


class CallFailure(Exception):
    """What Triton says of a call of another model that failed: the cause of an EditError, for the log alone."""

    def __init__(self, model: str, version: int, reason: str):
        super().__init__(f"{model} {version}: {reason}")


def parse_error(message: str) -> EditError | None:
    """The typed error in a Triton message, whatever Triton prefixed to it; None if it is untyped."""
    message = _PREFIX.sub("", message, count=1)
    name, found, sentence = message.partition(": ")
    return EditError(name, sentence) if found and name in CODES else None


def is_away(message: str) -> bool:
    """Whether Triton's message says that a model, or the process behind it, is gone for a moment."""
    return any(words in message.lower() for words in _AWAY)


def is_busy(message: str) -> bool:
    """Whether Triton's message says that a request found no room in a model's queue, or no end of it in time."""
    return any(words in message.lower() for words in _BUSY)
