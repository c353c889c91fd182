"""Where a call belongs in a distributed trace: the W3C `traceparent` that goes with it."""

from __future__ import annotations

import os

try:
    from opentelemetry import propagate
except ImportError:  # it is the caller's choice: this client does not depend on it
    propagate = None  # type: ignore[assignment]


def headers() -> dict[str, str]:
    """The trace context of the OpenTelemetry span in force, else that of the variable TRACEPARENT, else nothing.

    Needs the package opentelemetry-api for the former. The server traces a call that has one, whatever its rate.
    """
    carrier: dict[str, str] = {}
    if propagate is not None:
        propagate.inject(carrier)
    inherited = os.environ.get("TRACEPARENT")
    if "traceparent" not in carrier and inherited:
        carrier["traceparent"] = inherited
    return {name: value for name, value in carrier.items() if name in ("traceparent", "tracestate")}
