"""Replicas on the loopback addresses of this machine, and docker/haproxy/haproxy.cfg run in front of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

CONFIGURATION = Path(__file__).parents[1] / "docker/haproxy/haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
MISSING = "there is no haproxy: install Debian's package haproxy"


def free_ports(count: int) -> list[int]:
    """So many ports that are free on every address of this machine."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for it; AssertionError that says `what` did not happen in so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not after {seconds:.0f} s"
        time.sleep(0.05)


class Replica:
    """`python -m serving` on the address `host` with ports for gRPC and HTTP. It starts when this is made."""

    def __init__(self, host: str, ports: Sequence[int], log: Path):
        grpc_port, http_port = ports
        self.url = f"{host}:{grpc_port}"
        self.http_port = http_port
        options = {"host": host, "grpc-port": grpc_port, "http-port": http_port, "metrics-port": free_ports(1)[0]}
        command = [sys.executable, "-m", "serving", *(f"--{name}={value}" for name, value in options.items())]
        with log.open("w") as file:
            self.launcher = subprocess.Popen(command, cwd=CONFIGURATION.parents[2], stdout=file, stderr=file)

    def kill(self) -> None:
        """SIGKILL to its tritonserver, not to the launcher."""
        os.kill(self.tritonserver(), signal.SIGKILL)

    def drain(self) -> int:
        """SIGTERM to the launcher, as an operator stops it; its exit status."""
        self.launcher.terminate()
        return self.launcher.wait(60)

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *exception: object) -> None:
        self.launcher.terminate()
        try:
            self.launcher.wait(30)
        finally:
            self.launcher.kill()

    def tritonserver(self) -> int:
        for process in psutil.Process(self.launcher.pid).children():
            if process.name() == "tritonserver":
                return process.pid
        raise ProcessLookupError(f"{self.url} has no tritonserver")


class Proxy:
    """HAProxy in front of one or two `replicas`: gRPC addresses whose readiness is at the port `http_port` of each.

    `variables` are those that the configuration's head describes, in lower case and without RECAST_. It has started
    when it sees all of the replicas ready, which it takes `patience` seconds for at most.
    """

    def __init__(self, *replicas: str, http_port: int, patience: float = 20.0, **variables: str):
        self.url, self.metrics = (f"127.0.0.1:{port}" for port in free_ports(2))
        # A second that is not there is one that cannot be reached, neither for calls nor for its readiness.
        first, second = (*replicas, "127.0.0.3:1")[:2]
        self._variables = {
            "bind": self.url, "metrics": self.metrics, "http_port": str(http_port),
            "replica_1": first, "replica_2": second, **variables,
        }  # fmt: skip
        self._expected = [True, len(replicas) == 2]
        self._patience = patience

    def __enter__(self) -> Proxy:
        self._process = subprocess.Popen([str(HAPROXY), "-db", "-f", CONFIGURATION], env=environment(**self._variables))
        try:
            self.wait(*self._expected, seconds=self._patience)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def ready(self) -> list[bool]:
        """Of each replica, as HAProxy sees it."""
        return [value == 1 for value in self._values("haproxy_server_status", ',state="UP"')]

    def passed(self) -> list[bool]:
        """Whether each replica's last health check has; one that HAProxy has yet to look at counts as ready."""
        return [value == 1 for value in self._values("haproxy_server_check_status", ',state="L7OK"')]

    def served(self) -> list[int]:
        """Calls that each replica has been given so far."""
        return [int(value) for value in self._values("haproxy_server_sessions_total")]

    def wait(self, *ready: bool, seconds: float = 20.0) -> None:
        """Until HAProxy sees the replicas `ready` or not as given."""

        def seen() -> bool:
            assert self._process.poll() is None, "HAProxy has ended"
            try:
                return self.ready() == list(ready)
            except OSError:  # it has not opened its ports yet
                return False

        until(seen, seconds, f"HAProxy sees {ready}")

    def _values(self, name: str, labels: str = "") -> list[float]:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as answer:
            page = answer.read().decode()
        found = re.findall(rf'^{name}{{proxy="replicas",server="replica-([12])"{labels}}} (\S+)$', page, re.MULTILINE)
        return [float(value) for _, value in sorted(found)]


def environment(**variables: str) -> dict[str, Any]:
    """This process's environment, with no RECAST_ variables but the given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECAST_")}
    return {**kept, **{f"RECAST_{name.upper()}": value for name, value in variables.items()}}
