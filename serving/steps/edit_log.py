"""What an operator learns of each edit: one line in the server's log, and its metrics.

A line is logfmt, "recast step=inpaint release=2 request_id=… outcome=ok …": names and numbers, never a prompt, a path
or an exception's message, which may quote either. A full traceback is logged at Triton's verbose level only.
"""

import json
import os
import re
import time
import traceback
from itertools import product
from pathlib import Path
from typing import Any

from serving.environment import PROBE_ID
from serving.errors import EditError
from serving.intents import INTENTS, NO_EDIT
from serving.steps.metrics import Metrics
from serving.steps.tensors import Outputs
from serving.triton_errors import CallFailure

SERVED = ("ok", "overloaded", "restarting", "internal")
"""The outcomes that tell how the server does; callers' own errors tell nothing of it."""
_PROBE_ID = os.environ.get(PROBE_ID)
MAX_ID_CHARS = 64
DEEPEST = 4
"""Places of an exception that its line names, the innermost last."""


class EditLog:
    """The records of one step's release; `logger` is `pb_utils.Logger`."""

    def __init__(self, step: str, release: int, logger: Any):
        self.metrics = Metrics(step, release)
        self.metrics.set("recast_step_start_time_seconds", time.time())
        # Prometheus sees the rise only of a series that it knew.
        for intent, outcome in product((*INTENTS, NO_EDIT), SERVED):
            self.metrics.count("recast_edits_total", 0, intent=intent, outcome=outcome)
        self._about = {"step": step, "release": release}
        self._logger = logger

    def note(self, request_id: str, intent: str, result: Outputs | EditError, started: float) -> None:
        """Record what a request came to: its scores, and the edit when this ends it; `started` is of perf_counter.

        An edit ends with its pictures or with an error. An error that another step has noted is not noted again.
        """
        if is_health_probe(request_id):
            return
        if isinstance(result, EditError):
            if not result.noted:
                self._ended(request_id, intent, result.name, started, cause=result.__cause__)
            return
        for name in ("parse_score", "mask_score", "edit_score"):
            if name in result and result[name].item() >= 0:  # below is the score of what nobody could look at
                self.metrics.observe(f"recast_{name}", result[name].item())
        if "edited_image" in result:
            report = json.loads(result["report"].item()) if "report" in result else {}
            self._ended(request_id, intent, "ok", started, release=painted_by(report), tried=tries(report))

    def _ended(
        self,
        request_id: str,
        intent: str,
        outcome: str,
        started: float,
        *,
        release: dict[str, Any] | None = None,
        tried: dict[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        intent = intent if intent in INTENTS else NO_EDIT
        about = self._about | (release or {})
        self.metrics.count("recast_edits_total", intent=intent, outcome=outcome, release=str(about["release"]))
        fields = {**about, "request_id": safe(request_id), "intent": intent, "outcome": outcome,
                  "milliseconds": round((time.perf_counter() - started) * 1e3, 1)}  # fmt: skip
        log = self._logger.log_error if outcome == "internal" else self._logger.log_info
        log(line(**fields, **(tried or {}), **origin(cause)))
        if cause is not None:
            text = "".join(traceback.format_exception(cause))
            self._logger.log_verbose(f"{line(request_id=safe(request_id))}\n{text}")


def is_health_probe(request_id: str) -> bool:
    """Whether the launcher asks, and not a caller: nobody else knows this server's id of it."""
    return request_id != "" and request_id == _PROBE_ID


def tries(report: dict[str, Any]) -> dict[str, Any]:
    """How often the edit was painted in all, and the least score of its pictures where the server could look."""
    attempts, scores = report.get("attempts", []), report.get("edit_scores", [])
    told = {"attempts": sum(attempts)} if attempts else {}
    return told | ({"edit_score": min(scores)} if scores else {})


def painted_by(report: dict[str, Any]) -> dict[str, Any]:
    """The release that the report names: not always that of the process, while two share the requests."""
    releases = report.get("releases", {})
    return {"release": releases["inpaint"]} if "inpaint" in releases else {}


def line(**fields: Any) -> str:
    """The fields in logfmt. Values with blanks come quoted."""
    return " ".join(["recast", *(f"{name}={value}" for name, value in fields.items())])


def safe(request_id: str) -> str:
    """A caller's id as it may stand in a line: what is not a letter, digit or one of "._:-" becomes "_"."""
    return re.sub(r"[^\w.:-]", "_", request_id[:MAX_ID_CHARS], flags=re.ASCII) or "-"


def origin(cause: BaseException | None) -> dict[str, str]:
    """What was raised and where: `error`, and `at`, file:line from outermost to innermost.

    Only a failed call of a network tells its `reason`: nothing that came from a caller reaches it but numbers.
    """
    if cause is None:
        return {}
    if isinstance(cause, CallFailure):
        return {"error": "CallFailure", "reason": quoted(str(cause))}
    frames = traceback.extract_tb(cause.__traceback__)[-DEEPEST:]
    at = ",".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return {"error": type(cause).__name__, "at": at or "-"}


def quoted(reason: str) -> str:
    """The first line of Triton's reason in quotes, paths cut to the file's name."""
    first = reason.split("\n")[0].split("\\n")[0]
    return json.dumps(re.sub(r"(?:/[\w.+-]+)+/", "", first))
