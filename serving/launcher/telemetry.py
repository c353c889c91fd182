"""What the server shows of itself beside its log: the options of its metrics and of its traces."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from serving.launcher.preflight import LaunchError

METRICS = "--metrics-config=summary_latencies=true"
"""Quantiles of Triton's durations; without them its page has sums alone."""
SERVICE = "recast"


@dataclass(frozen=True)
class Traces:
    """OpenTelemetry traces, sent to the OTLP/HTTP collector at `url`, such as http://collector:4318/v1/traces.

    One in `rate` requests is traced, and each that carries a W3C traceparent: its caller has decided.
    """

    url: str
    rate: int = 1

    def options(self) -> list[str]:
        """tritonserver's; LaunchError for a URL or rate that it would silently trace nothing with."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path in ("", "/"):
            raise LaunchError(f"'{self.url}' is no OTLP/HTTP endpoint: give it whole, http://HOST:4318/v1/traces.")
        if self.rate < 1:
            raise LaunchError(f"the trace rate is {self.rate}; it must be 1 (every request) or more (one in so many).")
        settings = {
            "mode": "opentelemetry",
            "level": "TIMESTAMPS",
            "rate": self.rate,
            "opentelemetry,url": self.url,
            "opentelemetry,resource": f"service.name={SERVICE}",
        }
        return [f"--trace-config={name}={value}" for name, value in settings.items()]


def options(traces: Traces | None) -> list[str]:
    """tritonserver's, for its metrics and for `traces`, if any."""
    return [METRICS, *(traces.options() if traces else ())]
