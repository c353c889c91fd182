"""The end of a server in order: nothing new comes in, what runs is finished.

Triton's own way on SIGTERM closes every model at once, and an edit in flight then fails at the next network that it
calls. So the doors are closed first, and the steps behind them only when nobody is inside any more.
"""

import time

from serving.local import CallError, Local

ORDER = (
    (("replace", "replace_stream"), ("replace",)),
    (("inpaint",), ("replace_stream", "inpaint")),
    (("parse", "mask"), ("parse", "mask")),
)
"""What to unload, and what must then be gone before what it calls is unloaded too."""


def drain(server: Local, seconds: float) -> bool:
    """Close the doors and wait; True when nobody is inside any more.

    False when requests still ran after `seconds`, or the server did not answer, or has no such doors.
    """
    deadline = time.monotonic() + seconds
    try:
        if not served(server, ORDER[0][0]):
            return False
        for doors, rooms in ORDER:
            for model in served(server, doors):
                server.unload(model, timeout=5)
            while served(server, rooms):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
    except CallError:
        return False
    return True


def served(server: Local, models: tuple[str, ...]) -> list[str]:
    """Those with a version that is loaded, or whose last requests are not answered yet."""
    states = server.states()
    return [model for model in models if set(states.get(model, {}).values()) - {"UNAVAILABLE"}]
