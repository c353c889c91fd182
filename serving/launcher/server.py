"""Starts tritonserver on a model repository, watches it and stops it.

with Server(repository) as server:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
"""

import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

from serving import environment as variables
from serving.inflight import WORKING, under_way
from serving.launcher import hidden_arguments, telemetry
from serving.launcher.control_client import Local
from serving.launcher.drain import drain
from serving.launcher.health_probe import probe
from serving.launcher.preflight import LaunchError, check, choose_ports, compile_steps, model_names
from serving.launcher.processes import die_with_parent, kill_group
from serving.launcher.security import LOOPBACK, Access, Tls, admin_key
from serving.launcher.server_log import ServerLog
from serving.launcher.shared_memory import Regions
from serving.launcher.tritonserver import Triton, assemble, environment
from serving.topology import REPLACE

EXIT_TIMEOUT = 30.0  # seconds that requests in flight get to finish after a stop is asked for
CLOSE_TIMEOUT = 2.0  # seconds that tritonserver then gets to end by itself; its models take longer, one after another
IN_FLIGHT = "inflight"
# A client that vanished without a word is noticed after 20 s, not after Triton's 2 hours.
KEEPALIVE = (
    "--grpc-keepalive-time=10000",
    "--grpc-keepalive-timeout=10000",
    "--grpc-keepalive-permit-without-calls=1",
    "--grpc-http2-max-pings-without-data=0",
)


class Server:
    """A tritonserver process: a context manager that starts it, ready to infer, and stops it.

    One that serves Recast's `replace` has made a first edit before it counts as started.

    A port of 0 stands for a free one. `config` names the configurations to take in place of config.pbtxt, for the
    models that have one of that name in configs/. `echo` receives the server's log as it comes; the whole of it is in
    `log_path`, a temporary file unless given. A model's process without progress for `hung_after` seconds, unless None,
    ends itself. Start it from a thread that outlives it: when that thread or its process ends, so does tritonserver.
    """

    def __init__(
        self,
        repository: Path,
        *,
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        host: str = LOOPBACK,
        tls: Tls | None = None,
        traces: telemetry.Traces | None = None,
        config: str | None = None,
        ready_model: str = REPLACE,
        ready_timeout: float = 600.0,
        exit_timeout: float = EXIT_TIMEOUT,
        hung_after: float | None = None,
        log_path: Path | None = None,
        echo: TextIO | None = None,
    ):
        self.repository = Path(repository).absolute()
        self.access = Access(host, admin_key(), tls)
        self.traces = traces
        self.ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.config = config
        self.ready_model = ready_model
        self.ready_timeout = ready_timeout
        self.exit_timeout = exit_timeout
        self.hung_after = hung_after
        self._echo = echo
        self._probe_id = secrets.token_hex(16)
        self._given_log = log_path
        self.warnings: list[str] = []
        self._process: subprocess.Popen | None = None
        self._folder: Path | None = None
        self._regions: Regions | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def log_path(self) -> Path:
        """Where all that it says is kept."""
        return self._log.path

    @property
    def admin_key(self) -> str:
        """What opens the server's control protocols."""
        return self.access.admin_key

    @property
    def local(self) -> Local:
        """Control and inference from this machine, whatever TLS is on."""
        return Local(self.http_url, self.admin_key, self._probe_id)

    @property
    def grpc_url(self) -> str:
        return self._url("grpc")

    @property
    def http_url(self) -> str:
        return self._url("http")

    @property
    def metrics_url(self) -> str:
        return self._url("metrics")

    def start(self) -> None:
        """Start and wait until `ready_model` is ready; LaunchError says what prevents it."""
        check(self.repository, self.ready_model, self.config)
        compile_steps(self.repository)
        if self.access.tls is not None:
            self.access.tls.check()
        self.warnings = self.access.warnings()
        self.ports = choose_ports({protocol: self.access.address(protocol) for protocol in self.ports}, self.ports)
        self._folder = Path(tempfile.mkdtemp(prefix="recast-serving-"))
        self._log = ServerLog(self._given_log or self._folder / "tritonserver.log", self._echo)
        try:
            self._regions = Regions()
            self._triton = Triton.find()
            self._backends = assemble(self._folder, self._triton)
            self._launch()
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Kill what is left of tritonserver and start it again, on the same ports; LaunchError as in `start`."""
        kill_group(self._running())
        self._log.finish()
        assert self._regions is not None
        self._regions.clear()
        self._launch()

    def poll(self) -> int | None:
        """The exit status when tritonserver has ended by itself, None while it runs."""
        return self._running().poll()

    def stop(self) -> None:
        """Take no new requests, let those in flight finish within `exit_timeout` seconds, then end every process.

        Idempotent. An exception meanwhile, such as a second Ctrl-C, ends them at once.
        """
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                end = time.monotonic() + self.exit_timeout
                empty = drain(self.local, self.exit_timeout, self._under_way)
                process.terminate()
                process.wait(CLOSE_TIMEOUT if empty else max(CLOSE_TIMEOUT, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process is not None:
                kill_group(process)
                self._log.finish()
            if self._regions is not None:
                self._regions.close()
                self._regions = None
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _under_way(self) -> int:
        """Requests that a stop must let finish."""
        assert self._folder is not None
        return under_way(self.metrics_url, self._folder / IN_FLIGHT, WORKING)

    def _running(self) -> subprocess.Popen:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def _url(self, protocol: str) -> str:
        host = self.access.address(protocol)
        return f"{LOOPBACK if host == '0.0.0.0' else host}:{self.ports[protocol]}"

    def _launch(self) -> None:
        self._spawn()
        self._wait_ready()
        if self.ready_model == REPLACE:
            probe(self.local, self.ready_timeout)

    def _spawn(self) -> None:
        assert self._folder is not None
        assert self._regions is not None
        command = self._command(self._regions.prefix)
        watch = {} if self.hung_after is None else {variables.HUNG_AFTER: str(self.hung_after)}
        options: dict[str, Any] = {
            "env": {**environment(self._folder, self._triton), **watch, **self._told(self._folder)},
            "pass_fds": (self._regions.descriptor,),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "errors": "replace",
            "start_new_session": True,  # Ctrl-C reaches the launcher alone, which then stops the server in order
            "preexec_fn": die_with_parent,
        }
        try:
            self._process = hidden_arguments.start(command, self.admin_key, **options)
        except PermissionError as error:
            self.warnings.append(f"every user of this machine can read the admin key in /proc: {error}.")
            self._process = subprocess.Popen(command, **options)
        self._log.follow(self._process)

    def _told(self, folder: Path) -> dict[str, str]:
        """What the models must know of their server, as environment variables."""
        in_flight = folder / IN_FLIGHT
        in_flight.mkdir(exist_ok=True)
        return {
            variables.INFLIGHT: str(in_flight),
            variables.METRICS: self.metrics_url,
            variables.PROBE_ID: self._probe_id,
        }

    def _command(self, prefix: str) -> list[str]:
        # Both backends have stubs; an installed tritonserver's onnxruntime is C++ and has none.
        backends = ("python", "onnxruntime") if self._triton.stub else ("python",)
        command = [
            str(self._triton.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends}",
            *(f"--backend-config={backend},shm-region-prefix-name={prefix}" for backend in backends),
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in model_names(self.repository)),
            # Else one release that failed its trial would make the server unready for good.
            "--strict-readiness=false",
            # Configs are complete, by hand; completing them would start every Python model's process twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={max(1, round(self.exit_timeout))}",
            *KEEPALIVE,
            *telemetry.options(self.traces),
            *self.access.options(),
        ]
        if self.config is not None:
            command.append(f"--model-config-name={self.config}")
        return command + [f"--{protocol}-port={port}" for protocol, port in self.ports.items()]

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.ready_timeout
        while time.monotonic() < deadline:
            if self.poll() is not None:
                raise LaunchError(self._log.reason(self.poll()))
            if self.local.ready(self.ready_model):
                return
            time.sleep(0.1)
        raise LaunchError(f"'{self.ready_model}' was not ready after {self.ready_timeout:.0f} s.")
