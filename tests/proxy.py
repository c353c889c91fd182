"""docker/haproxy/haproxy.cfg run by a real HAProxy on free ports, and small gRPC replicas to stand behind it."""

import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.preflight import choose_ports

CONFIGURATION = Path(__file__).parents[1] / "docker/haproxy/haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy: install Debian's package haproxy")


class Proxy:
    """HAProxy in front of `replicas`, gRPC addresses whose readiness is at the port `http_port` of each.

    `variables` are those that the configuration's head describes, in lower case and without RECAST_. It has started
    when it sees all of the replicas ready.
    """

    def __init__(self, *replicas: str, http_port: int, **variables: str):
        ports = choose_ports("127.0.0.1", {"bind": 0, "metrics": 0})
        self.url = f"127.0.0.1:{ports['bind']}"
        self._metrics = f"127.0.0.1:{ports['metrics']}"
        # A second that is not there is one that cannot be reached, neither for calls nor for its readiness.
        first, second = (*replicas, "127.0.0.3:1")[:2]
        self._variables = {
            "bind": self.url, "metrics": self._metrics, "http_port": str(http_port),
            "replica_1": first, "replica_2": second, **variables,
        }  # fmt: skip
        self._expected = [True, len(replicas) == 2]

    def __enter__(self) -> "Proxy":
        self._process = subprocess.Popen(
            [HAPROXY, "-db", "-f", str(CONFIGURATION)], env=environment(**self._variables), stdout=subprocess.DEVNULL
        )
        try:
            self.wait(*self._expected)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self._process.kill()
        self._process.wait()

    def ready(self) -> list[bool]:
        """Of each replica, as HAProxy sees it."""
        return [value == 1 for value in self._values("haproxy_server_status", ',state="UP"')]

    def served(self) -> list[int]:
        """Calls that each replica has been given so far."""
        return [int(value) for value in self._values("haproxy_server_sessions_total")]

    def wait(self, *ready: bool, seconds: float = 20.0) -> None:
        """Until HAProxy sees the replicas `ready` or not as given."""
        end = time.monotonic() + seconds
        while True:
            assert self._process.poll() is None, "HAProxy has ended"
            try:
                found = self.ready()
            except OSError:
                found = []
            if found == list(ready):
                return
            assert time.monotonic() < end, f"HAProxy sees {found} after {seconds:.0f} s"
            time.sleep(0.05)

    def _values(self, name: str, labels: str = "") -> list[float]:
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=5) as answer:
            page = answer.read().decode()
        found = re.findall(rf'^{name}{{proxy="replicas",server="(\S+?)"{labels}}} (\S+)$', page, re.MULTILINE)
        return [float(value) for _, value in sorted(found)]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without RECAST_ variables but the given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECAST_")}
    return {**kept, **{f"RECAST_{name.upper()}": value for name, value in variables.items()}}


class Replica(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A gRPC server on `host` that holds each inference until `release` is called, and remembers what came.

    `waiting` counts the calls it holds, `cancelled` those whose callers left; `metadata` is the last call's.
    """

    def __init__(self, host: str, ports: dict[str, int], *, hold: bool = False):
        self.url = f"{host}:{ports['grpc']}"
        self.ready = True
        self.waiting = self.cancelled = 0
        self.metadata: dict[str, str] = {}
        self._gate = threading.Condition()
        self._hold = hold
        self._http = ThreadingHTTPServer((host, ports["http"]), self._readiness())
        self._pool = ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.url)

    def __enter__(self) -> "Replica":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self._server.start()
        return self

    def __exit__(self, *exception) -> None:
        self.release()
        self._server.stop(None).wait()
        self._pool.shutdown()
        self._http.shutdown()
        self._http.server_close()

    def ModelInfer(self, request, context):
        self.metadata = dict(context.invocation_metadata())
        left = threading.Event()
        context.add_callback(left.set)
        with self._gate:
            self.waiting += 1
            self._gate.notify_all()
            while self._hold and not left.is_set():
                self._gate.wait(0.02)
            self.waiting -= 1
            self.cancelled += left.is_set()
        return service_pb2.ModelInferResponse(model_name=request.model_name)

    def release(self) -> None:
        """Answer what is held, and hold nothing any more."""
        with self._gate:
            self._hold = False
            self._gate.notify_all()

    def _readiness(self) -> type[BaseHTTPRequestHandler]:
        replica = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.path == "/v2/models/replace/ready"
                self.send_response(200 if replica.ready and known else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        return Handler


def ports_of_replicas() -> dict[str, int]:
    """Ports free on every loopback address, so that replicas on 127.0.0.1 and 127.0.0.2 share their numbers."""
    return choose_ports("0.0.0.0", {"grpc": 0, "http": 0})
