"""What an edit's report is made of: each step's release, milliseconds and facts, put together by the last."""

import json
import time
from typing import Any

from serving.errors import EditError

SHARED = ("releases", "milliseconds")
"""What every step adds to: a value by the step's name."""


def read_report(content: str, name: str) -> dict[str, Any]:
    """A step's report, from the input `name`; EditError invalid_option when it is no JSON object of such a form."""
    try:
        report = json.loads(content)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not all(isinstance(report.get(key, {}), dict) for key in SHARED):
        raise EditError("invalid_option", f"{name} is not a step's report; leave it out or pass a step's own.")
    return report


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both reports in one, the releases and milliseconds of the two among each other."""
    shared = {key: {**first.get(key, {}), **second.get(key, {})} for key in SHARED}
    return first | second | shared


def extended(report: dict[str, Any], step: str, release: int, started: float, **facts: Any) -> str:
    """The report as JSON with a step's release, its milliseconds since `started` (perf_counter) and its facts."""
    milliseconds = round((time.perf_counter() - started) * 1e3, 1)
    return json.dumps(report | facts | {
        "releases": {**report.get("releases", {}), step: release},
        "milliseconds": {**report.get("milliseconds", {}), step: milliseconds},
    })  # fmt: skip
