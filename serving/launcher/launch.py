"""All that is settled before tritonserver is started, and stays when it is started again: command, variables, files."""

import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from serving import environment as variables
from serving.launcher import hidden_arguments, telemetry
from serving.launcher.preflight import model_names
from serving.launcher.processes import die_with_parent
from serving.launcher.security import LOOPBACK, Access
from serving.launcher.server_options import ServerOptions
from serving.launcher.shared_memory import Regions
from serving.launcher.tritonserver import Triton, environment

# A client that vanished without a word is noticed after 20 s, not after Triton's 2 hours. A client that pings us in the
# same way may, however often: by default Triton hangs up at the third ping within 5 minutes (`Too many pings`).
KEEPALIVE = (
    "--grpc-keepalive-time=10000",
    "--grpc-keepalive-timeout=10000",
    "--grpc-keepalive-permit-without-calls=1",
    "--grpc-http2-max-pings-without-data=0",
    "--grpc-http2-max-ping-strikes=0",
)


@dataclass(frozen=True)
class Launch:
    """One server's: `ports` are chosen, `folder` is its own and temporary, `backends` is what it loads backends from.

    It may be spawned again when the process of before has ended.
    """

    options: ServerOptions
    access: Access
    ports: Mapping[str, int]
    folder: Path
    regions: Regions
    triton: Triton
    backends: Path
    probe_id: str = field(default_factory=partial(secrets.token_hex, 16))
    """The request id of the launcher's own inferences."""

    @property
    def in_flight(self) -> Path:
        """The folder in which the models' processes count their requests (see `serving.inflight`)."""
        return self.folder / "inflight"

    def url(self, protocol: str) -> str:
        """host:port for callers on this machine."""
        host = self.access.address(protocol)
        return f"{LOOPBACK if host == '0.0.0.0' else host}:{self.ports[protocol]}"

    def spawn(self) -> tuple[subprocess.Popen[str], str | None]:
        """A tritonserver that leads a process group of its own, and what its operator should be warned of, if anything.

        The kernel ends it when the calling thread ends.
        """
        self.in_flight.mkdir(exist_ok=True)
        options: dict[str, Any] = {
            "env": self.variables(),
            "pass_fds": (self.regions.descriptor,),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "errors": "replace",
            "start_new_session": True,  # Ctrl-C reaches the launcher alone, which then stops the server in order
            "preexec_fn": die_with_parent,
        }
        try:
            return hidden_arguments.start(self.command(), self.access.admin_key, **options), None
        except PermissionError as error:
            warning = f"every user of this machine can read the admin key in /proc: {error}."
            return subprocess.Popen(self.command(), **options), warning

    def variables(self) -> dict[str, str]:
        """tritonserver's environment, with what the models must know of their server."""
        known = {
            variables.INFLIGHT: str(self.in_flight),
            variables.METRICS: self.url("metrics"),
            variables.PROBE_ID: self.probe_id,
        }
        if self.options.hung_after is not None:
            known[variables.HUNG_AFTER] = str(self.options.hung_after)
        return {**environment(self.folder, self.triton), **known}

    def command(self) -> list[str]:
        """tritonserver and its options, the admin key among them."""
        options, repository = self.options, self.options.repository.absolute()
        # Both backends have stubs; an installed tritonserver's onnxruntime is C++ and has none.
        backends = ("python", "onnxruntime") if self.triton.stub else ("python",)
        return [
            str(self.triton.tritonserver),
            f"--model-repository={repository}",
            f"--backend-directory={self.backends}",
            *(f"--backend-config={backend},shm-region-prefix-name={self.regions.prefix}" for backend in backends),
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in model_names(repository)),
            # Else one release that failed its smoke test would make the server unready for good.
            "--strict-readiness=false",
            # Configs are complete, by hand; completing them would start every Python model's process twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={max(1, round(options.exit_timeout))}",
            *KEEPALIVE,
            *telemetry.options(options.traces),
            *self.access.options(),
            *([] if options.config is None else [f"--model-config-name={options.config}"]),
            *(f"--{protocol}-port={port}" for protocol, port in self.ports.items()),
        ]
