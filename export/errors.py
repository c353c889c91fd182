"""The one error that an export ends with."""


class ExportError(Exception):
    """The export cannot go on; the message is one sentence that says why and what to do."""
