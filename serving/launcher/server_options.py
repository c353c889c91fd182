"""How one tritonserver is to be started."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TextIO

from serving.launcher.security import LOOPBACK, Tls
from serving.launcher.telemetry import Traces
from serving.topology import REPLACE

EXIT_TIMEOUT = 30.0
"""Seconds that requests in flight get to finish after a stop is asked for."""
READY_TIMEOUT = 600.0
"""Seconds until `ready_model` takes requests: the demo weights need ten, those of full size minutes."""


@dataclass(frozen=True)
class ServerOptions:
    """What `start` starts a server with.

    A port of 0 stands for a free one. `config` names the configurations to take in place of config.pbtxt, for the
    models that have one of that name in configs/. A server whose `ready_model` is Recast's `replace` makes a first edit
    before it counts as started. `echo` receives the server's log as it comes; `log_path` keeps it, in a temporary file
    unless given (see `serving.launcher.server_log`). A model's process without progress for `hung_after` seconds,
    unless None, ends itself.
    """

    repository: Path
    _: KW_ONLY
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    host: str = LOOPBACK
    tls: Tls | None = None
    traces: Traces | None = None
    config: str | None = None
    ready_model: str = REPLACE
    ready_timeout: float = READY_TIMEOUT
    exit_timeout: float = EXIT_TIMEOUT
    hung_after: float | None = None
    log_path: Path | None = None
    echo: TextIO | None = None

    @property
    def ports(self) -> Mapping[str, int]:
        """By protocol."""
        return {"grpc": self.grpc_port, "http": self.http_port, "metrics": self.metrics_port}
