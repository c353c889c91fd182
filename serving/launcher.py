"""Starts tritonserver on a model repository, watches it and stops it.

with Server(repository) as server:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TextIO

from serving.canary import probe
from serving.preflight import LaunchError, check_machine, check_repository, choose_ports
from serving.runtime import Triton, assemble, environment

EXIT_TIMEOUT = 15  # seconds that requests in flight get to finish after a stop is asked for
CACHE_BYTES = 64 << 20
FRONT_DOOR = "replace"
_PR_SET_PDEATHSIG = 1


class Server:
    """A tritonserver process: a context manager that starts it, ready to infer, and stops it.

    One that serves Recast's `replace` has made a first edit before it counts as started.

    A port of 0 stands for a free one. `config` names the configurations to take in place of config.pbtxt, for the
    models that have one of that name in configs/. `echo` receives the server's log as it comes; the whole of it is in
    `log_path`, a temporary file unless given. Start it from a thread that outlives it: when that thread or
    its process ends, the kernel stops tritonserver too.
    """

    def __init__(
        self,
        repository: Path,
        *,
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        host: str = "127.0.0.1",
        config: str | None = None,
        ready_model: str = FRONT_DOOR,
        ready_timeout: float = 600.0,
        log_path: Path | None = None,
        echo: TextIO | None = None,
    ):
        self.repository = Path(repository).absolute()
        self.host = host
        self.ports = {"grpc": grpc_port, "http": http_port, "metrics": metrics_port}
        self.config = config
        self.ready_model = ready_model
        self.ready_timeout = ready_timeout
        self.echo = echo
        self._given_log = log_path
        self._process: subprocess.Popen | None = None
        self._folder: Path | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

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
        check_machine()
        check_repository(self.repository, self.ready_model, self.config)
        self.ports = choose_ports(self.host, self.ports)
        self._folder = Path(tempfile.mkdtemp(prefix="recast-serving-"))
        self.log_path = self._given_log or self._folder / "tritonserver.log"
        try:
            self._spawn(self._folder)
            self._wait_ready()
            if self.ready_model == FRONT_DOOR:
                probe(self.grpc_url, self.ready_timeout)
        except BaseException:
            self.stop()
            raise

    def poll(self) -> int | None:
        """The exit status when tritonserver has ended by itself, None while it runs."""
        return self._running().poll()

    def stop(self) -> None:
        """Let requests in flight finish, then end the server and every process it started. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(EXIT_TIMEOUT + 5)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_session(process)
                self._reader.join(5)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> subprocess.Popen:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def _url(self, protocol: str) -> str:
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return f"{host}:{self.ports[protocol]}"

    def _spawn(self, folder: Path) -> None:
        triton = Triton.find()
        self._process = subprocess.Popen(
            self._command(triton, assemble(folder, triton)),
            env=environment(folder, triton),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which then stops the server in order
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._copy_log, args=(self._process,), daemon=True)
        self._reader.start()

    def _command(self, triton: Triton, backends: Path) -> list[str]:
        command = [
            str(triton.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={backends}",
            f"--cache-directory={triton.caches}",
            f"--cache-config=local,size={CACHE_BYTES}",
            "--model-control-mode=explicit",
            "--load-model=*",
            # Configs are complete, by hand; completing them would start every Python model's process twice.
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={EXIT_TIMEOUT}",
        ]
        if self.config is not None:
            command.append(f"--model-config-name={self.config}")
        for protocol, port in self.ports.items():
            command += [f"--{protocol}-address={self.host}", f"--{protocol}-port={port}"]
        return command

    def _copy_log(self, process: subprocess.Popen) -> None:
        assert process.stdout is not None
        with self.log_path.open("w", buffering=1) as log:
            for line in process.stdout:
                log.write(line)
                if self.echo is not None:
                    self.echo.write(line)
                    self.echo.flush()

    def _wait_ready(self) -> None:
        url = f"http://{self.http_url}/v2/models/{self.ready_model}/ready"
        deadline = time.monotonic() + self.ready_timeout
        while time.monotonic() < deadline:
            if self.poll() is not None:
                self._reader.join(5)
                raise LaunchError(explain(self.log_path.read_text(), self.poll()))
            if _answers(url):
                return
            time.sleep(0.1)
        raise LaunchError(f"'{self.ready_model}' was not ready after {self.ready_timeout:.0f} s.")


def explain(log: str, status: int | None) -> str:
    """One line a cause, found in the log of a tritonserver that ended while starting."""
    failures = re.findall(r"failed to load '([^']+)' version (\d+): (.*)", log)
    reasons = [f"'{model}' version {version} failed to load: {_brief(why)}" for model, version, why in failures]
    polls = re.findall(r"Poll failed for model directory '([^']+)': (.*)", log)
    reasons += [f"'{model}': {_brief(why)}" for model, why in polls]
    reasons += re.findall(r"\[libprotobuf ERROR .*\] (.*)", log)
    reasons += re.findall(r"(failed to start .* service: .*)", log)
    if not reasons:
        reasons = log.splitlines()[-5:]
    return "\n  ".join([f"tritonserver ended with status {status} while starting:", *dict.fromkeys(reasons)])


def _brief(reason: str) -> str:
    """The first sentence of a model's own reason, without the traceback that Triton appends as '\\n'."""
    return reason.split("\\n")[0].removesuffix('"')


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_session(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
