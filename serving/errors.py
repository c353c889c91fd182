"""The errors a caller can receive, each with the Triton status code that carries it."""

import re

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
_PREFIX = re.compile(r"\A(?:\[request id: [^\]]*\] )?(?:in ensemble '[^']*', )*")

# Triton's words for a model whose process is dead, and for one that is not there between an unload and a load.
_AWAY = ("is not healthy", "not ready", "has no available versions", "is stopping")


class EditError(Exception):
    """A request that cannot be served: `name` is a key of CODES, `sentence` says why and what to do.

    `str(error)` is the message on the wire: "name: sentence". `noted` tells that the journal of the step that raised
    it has it, and later ones need not.
    """

    noted = False

    def __init__(self, name: str, sentence: str):
        if name not in CODES:
            raise ValueError(f"unknown error name {name!r}; known: {', '.join(CODES)}")
        super().__init__(f"{name}: {sentence}")
        self.name = name
        self.sentence = sentence

    @property
    def code(self) -> str:
        """The Triton code's name, an attribute of `TritonError`."""
        return CODES[self.name]

    def __reduce__(self):
        return EditError, (self.name, self.sentence)

    @classmethod
    def parse(cls, message: str) -> "EditError | None":
        """The typed error in a Triton message, whatever Triton prefixed to it; None if it is untyped."""
        message = _PREFIX.sub("", message, count=1)
        name, found, sentence = message.partition(": ")
        return cls(name, sentence) if found and name in CODES else None


class CallFailure(Exception):
    """What Triton says of a call of another model that failed: the cause of an EditError, for the log alone."""

    def __init__(self, model: str, version: int, reason: str):
        super().__init__(f"{model} {version}: {reason}")


def away(message: str) -> bool:
    """Whether Triton's message says that a model, or the process behind it, is gone for a moment."""
    return any(words in message.lower() for words in _AWAY)


def out_of_memory(error: Exception) -> bool:
    """Whether there was no memory for this request: Python's, torch's or ONNX Runtime's way to say so."""
    words = ("Failed to allocate memory", "bad_alloc", "bad allocation")
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(word in str(error) for word in words)
