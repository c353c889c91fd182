"""Starts tritonserver on a model repository, and stops it.

with start(ServerOptions(repository)) as server:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from serving.inflight import WORKING, under_way
from serving.launcher.control_client import ControlClient
from serving.launcher.drain import drain
from serving.launcher.health_probe import probe
from serving.launcher.launch import Launch
from serving.launcher.preflight import LaunchError, check, choose_ports, compile_steps
from serving.launcher.processes import kill_group
from serving.launcher.security import Access, admin_key
from serving.launcher.server_log import ServerLog
from serving.launcher.server_options import ServerOptions
from serving.launcher.shared_memory import Regions
from serving.launcher.tritonserver import Triton, assemble
from serving.topology import REPLACE

CLOSE_TIMEOUT = 2.0
"""Seconds that a drained tritonserver gets to end by itself; its models take longer, one after another."""
SILENT = 1.0
"""Seconds in which a tritonserver that was found wanting tells that it lives."""


@contextmanager
def start(options: ServerOptions) -> "Iterator[RunningServer]":
    """A server for as long as the block runs, ready to infer; LaunchError says what prevents it.

    After the block it takes no new requests, lets those in flight finish within `options.exit_timeout` seconds and then
    ends every process; an exception meanwhile, such as a second Ctrl-C, ends them at once. Use it in a thread that
    outlives the server: when that thread or its process ends, so does tritonserver.
    """
    check(options.repository, options.ready_model, options.config)
    compile_steps(options.repository)
    access = Access(options.host, admin_key(), options.tls)
    access.check()
    ports = choose_ports({protocol: access.address(protocol) for protocol in options.ports}, options.ports)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="recast-serving-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        log = stack.enter_context(closing(ServerLog(options.log_path or folder / "tritonserver.log", options.echo)))
        regions = stack.enter_context(closing(Regions()))
        triton = Triton.find()
        server = RunningServer(
            Launch(options, access, ports, folder, regions, triton, assemble(folder, triton)),
            log,
        )
        stack.callback(server.stop)
        server.wait_ready()
        yield server


class RunningServer:
    """A tritonserver that was started, which `poll` says the end of; `start` makes one and stops it.

    `warnings` are what the operator should know, a sentence each.
    """

    def __init__(self, launch: Launch, log: ServerLog) -> None:
        self._launch = launch
        self._log = log
        self._took_requests = False
        self._process, warning = launch.spawn()
        self._output = log.follow(self._process)
        self.warnings = [*launch.access.warnings(), *filter(None, [warning])]

    @property
    def options(self) -> ServerOptions:
        return self._launch.options

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Where what it says is kept: this file, and older ones beside it."""
        return self._log.path

    @property
    def admin_key(self) -> str:
        """What opens the server's control protocols."""
        return self._launch.access.admin_key

    @property
    def control(self) -> ControlClient:
        """Control and inference from this machine, whatever TLS is on."""
        return ControlClient(self.http_url, self.admin_key, self._launch.probe_id)

    @property
    def grpc_url(self) -> str:
        return self._launch.url("grpc")

    @property
    def http_url(self) -> str:
        return self._launch.url("http")

    @property
    def metrics_url(self) -> str:
        return self._launch.url("metrics")

    def poll(self) -> int | None:
        """The exit status when tritonserver has ended by itself, None while it runs."""
        return self._process.poll()

    def crashed(self) -> bool:
        """Whether it took requests, and since then a signal ended it or it fell silent, as it does in a crash.

        Callers can bring that about (docker/THREATS.md).
        """
        if not self._took_requests:
            return False
        status = self.poll()
        return not self.control.live(timeout=SILENT) if status is None else status < 0

    def wait_ready(self) -> None:
        """Wait until the `ready_model` takes requests, and replace has made an edit; LaunchError says why not."""
        model, timeout = self.options.ready_model, self.options.ready_timeout
        deadline = time.monotonic() + timeout
        while not self.control.ready(model):
            status = self.poll()
            if status is not None:
                raise LaunchError(self._output.reason(status))
            if time.monotonic() > deadline:
                raise LaunchError(f"'{model}' was not ready after {timeout:.0f} s.")
            time.sleep(0.1)
        self._took_requests = True
        if model == REPLACE:
            probe(self.control, timeout)

    def restart(self) -> None:
        """Kill what is left of tritonserver and start it again, on the same ports; LaunchError as in `wait_ready`."""
        self._kill()
        self._launch.regions.clear()
        self._took_requests = False
        self._process, _ = self._launch.spawn()
        self._output = self._log.follow(self._process)
        self.wait_ready()

    def stop(self) -> None:
        """Drain it and end every process, see `start`."""
        try:
            if self.poll() is None:
                timeout = self.options.exit_timeout
                end = time.monotonic() + timeout
                empty = drain(self.control, timeout, self._under_way)
                self._process.terminate()
                self._process.wait(CLOSE_TIMEOUT if empty else max(CLOSE_TIMEOUT, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()

    def _kill(self) -> None:
        kill_group(self._process)
        self._output.finish()

    def _under_way(self) -> int:
        """Requests that a stop must let finish."""
        return under_way(self.metrics_url, self._launch.in_flight, WORKING)
