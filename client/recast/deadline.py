"""How long a call may take, here and on the server."""

from __future__ import annotations

import time
from typing import Any

from .errors import DeadlineExceeded, InvalidOption, no_answer

LEAST = 0.01
"""Seconds that must be left for a call to be sent: no answer comes in less."""
GRACE = 2.0
"""Seconds that gRPC waits beyond the deadline. The server knows the deadline and answers at it by itself; gRPC's own
end is for a server that answers nothing. A tritonserver 24.10 dies of calls that gRPC cancels as they arrive."""
A_YEAR = 365 * 86400.0


def checked(timeout: Any) -> float | None:
    """The seconds of a timeout; None, which is no limit, for None, inf and more than a year.

    Raises InvalidOption for what is no number above 0.
    """
    if timeout is None:
        return None
    try:
        seconds = float("nan") if isinstance(timeout, (str, bytes, bool)) else float(timeout)
    except (TypeError, ValueError):
        seconds = float("nan")
    except OverflowError:  # an int beyond all floats
        return None if timeout > 0 else checked(-1.0)
    if not seconds > 0:
        raise InvalidOption(f"the timeout is {timeout!r}; it is a number of seconds above 0, or inf for no limit.")
    return seconds if seconds <= A_YEAR else None


class Deadline:
    """A point in time `seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until then, at least 0; None when it never comes."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def is_near(self) -> bool:
        """Whether it is too late to send anything."""
        return not self.allows(LEAST)

    def allows(self, pause: float) -> bool:
        left = self.left()
        return left is None or left > pause

    def check(self) -> None:
        """Raises DeadlineExceeded when it is too late to send anything."""
        if self.is_near():
            raise DeadlineExceeded(no_answer(self.seconds))

    def patience(self) -> float | None:
        """Seconds after which gRPC gives up; raises DeadlineExceeded when it is too late to send anything."""
        self.check()
        left = self.left()
        return None if left is None else left + GRACE

    def arguments(self) -> dict[str, Any]:
        """tritonclient's for an inference: until when to wait here, and (`timeout`, in microseconds) on the server.

        Raises DeadlineExceeded when it is too late to send it.
        """
        patience = self.patience()
        allowed = None if patience is None else max(1, int((patience - GRACE) * 1e6))
        return {"client_timeout": patience, "timeout": allowed}
