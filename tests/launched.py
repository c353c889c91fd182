"""`python -m serving` as operators run it, and what tests do to its processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.environment import INFLIGHT
from serving.inflight import WORKING, under_way
from serving.launcher.processes import Stub, stubs

ROOT = Path(__file__).parents[1]
_READY = re.compile(r"recast: ready .* on gRPC ([^,]+), HTTP ([^,]+), metrics ([^,]+),")


class Launched:
    """The launcher on free ports, ready; a context manager that stops it. Its log is `log`."""

    def __init__(self, log: Path, *options: str) -> None:
        self.log = log
        ports = ("--grpc-port=0", "--http-port=0", "--metrics-port=0")
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving", *ports, *options],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        ready = _READY.match(self.process.stdout.readline())
        if ready is None:
            self.process.kill()
            raise AssertionError(log.read_text()[-2000:])
        self.grpc_url, self.http_url, self.metrics_url = ready.groups()

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *exception) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            finally:
                self.process.kill()
        self.process.stdout.close()

    @property
    def server(self) -> int:
        """The process id of tritonserver."""
        children = psutil.Process(self.process.pid).children()
        return next(child.pid for child in children if child.name() == "tritonserver")

    def stubs(self, model: str) -> list[Stub]:
        return [stub for stub in stubs(self.server) if stub.model == model]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def edits_under_way(server) -> int:
    """Those that wait in a queue of `server` and those that a process of it works on, as its own stop counts them."""
    return under_way(server.metrics_url, Path(psutil.Process(server.pid).environ()[INFLIGHT]), WORKING)


@contextmanager
def frozen(server: int, model: str) -> Iterator[None]:
    """Hold `model` still while the block runs: its processes under the tritonserver `server` are stopped.

    What needs it cannot end meanwhile, on a machine of any speed. A supervisor kills them after some seconds.
    """
    pids = [stub.pid for stub in stubs(server) if stub.model == model]
    assert pids, model
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
