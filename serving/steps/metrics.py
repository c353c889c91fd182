"""Recast's own Prometheus metrics, on Triton's metrics page beside Triton's own.

A family is Triton's: all processes that name it add to the same series, and a series outlives its process. What
Triton counts already is not counted again: requests and time in queue and in compute by model and version
(`nv_inference_*`), the rows of a batch (`nv_inference_count` by `nv_inference_exec_count`).
"""

from dataclasses import dataclass
from typing import Any

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside tritonserver, where nothing is counted
    pb_utils = None

SHARES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
SCORES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]


@dataclass(frozen=True)
class Family:
    """Metrics of one name: `kind` is counter, gauge or histogram, `buckets` the upper bounds of a histogram."""

    kind: str
    description: str
    buckets: list[float] | None = None


FAMILIES = {
    "recast_edits_total": Family(
        "counter", "Edits that ended, by intent and outcome (ok or the error's name), at the step that ended them"
    ),
    "recast_denoising_steps_total": Family("counter", "Denoising steps done"),
    "recast_cancelled_steps_total": Family(
        "counter", "Denoising steps spared: the call was cancelled, or failed, before them"
    ),
    "recast_retries_total": Family("counter", "Variants painted again, with another seed, because they went wrong"),
    "recast_mask_area_ratio": Family("histogram", "Share of the picture that an edit changed", SHARES),
    "recast_parse_score": Family("histogram", "How sure parse was of what the sentence asks for, 0 to 1", SCORES),
    "recast_mask_score": Family("histogram", "How sure mask was of the object, 0 to 1", SCORES),
    "recast_edit_score": Family("histogram", "How sure the second look was that the edit was done, 0 to 1", SCORES),
    "recast_step_start_time_seconds": Family("gauge", "When the step's process last started, in Unix time"),
}


class Metrics:
    """The series of one step's release. An addition takes some 20 microseconds; any thread may make it."""

    def __init__(self, step: str, release: int):
        self._labels = {"step": step, "release": str(release)}
        self._families: dict[str, Any] = {}
        self._series: dict[tuple, Any] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._apply("increment", name, amount, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        self._apply("observe", name, value, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._apply("set", name, value, labels)

    def _apply(self, method: str, name: str, value: float, labels: dict[str, str]) -> None:
        if pb_utils is not None:
            getattr(self._one(name, labels), method)(value)

    def _one(self, name: str, labels: dict[str, str]):
        """The series of `name` with `labels`, made at its first use."""
        key = (name, *sorted(labels.items()))
        if key not in self._series:
            family = FAMILIES[name]
            if name not in self._families:
                kind = getattr(pb_utils.MetricFamily, family.kind.upper())
                self._families[name] = pb_utils.MetricFamily(name=name, description=family.description, kind=kind)
            buckets = {} if family.buckets is None else {"buckets": family.buckets}
            self._series[key] = self._families[name].Metric(labels=self._labels | labels, **buckets)
        return self._series[key]
