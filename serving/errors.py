"""The errors a caller can receive, by name."""

NAMES = frozenset(
    (
        "invalid_image",
        "invalid_prompt",
        "invalid_option",
        "not_an_edit",
        "object_not_found",
        "overloaded",
        "restarting",
        "cancelled",
        "internal",
    )
)


class EditError(Exception):
    """A request that cannot be served: `name` is one of NAMES, `sentence` says why and what to do.

    `str(error)` is the message on the wire: "name: sentence". `noted` tells that the edit log of the step that
    raised it has it, and later ones need not.
    """

    noted = False

    def __init__(self, name: str, sentence: str):
        if name not in NAMES:
            raise ValueError(f"unknown error name {name!r}; known: {', '.join(sorted(NAMES))}")
        super().__init__(f"{name}: {sentence}")
        self.name = name
        self.sentence = sentence

    def __reduce__(self):
        return EditError, (self.name, self.sentence)


def out_of_memory(error: Exception) -> bool:
    """Whether there was no memory for this request: Python's, torch's or ONNX Runtime's way to say so."""
    words = ("Failed to allocate memory", "bad_alloc", "bad allocation")
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(word in str(error) for word in words)
