"""What can prevent that a release is used or changed: one class an error, each with a `name` and one sentence."""


class ReleaseError(Exception):
    """Base of them all: `name` is what programs tell errors apart by, `str(error)` says why and what to do."""

    name = "release_error"


class BadRelease(ReleaseError):
    """The release is not what its manifest says, or does not work."""

    name = "bad_release"


class NotPossible(ReleaseError):
    """What was asked for does not fit the releases that there are."""

    name = "not_possible"


class Busy(ReleaseError):
    """Somebody else changes the repository's releases."""

    name = "busy"


class NotWritable(ReleaseError):
    """A file of a release must be written and cannot."""

    name = "not_writable"
