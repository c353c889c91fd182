"""Small gRPC servers to stand behind the front proxy, where a test must know which of them has which call."""

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.fleet import HAPROXY, MISSING

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason=MISSING)


class Holding(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A gRPC server on `host` that holds each inference until `release` is called, and remembers what came.

    `waiting` counts the calls it holds, `cancelled` those whose callers left; `metadata` is the last call's.
    """

    def __init__(self, host: str, grpc_port: int, http_port: int):
        self.url = f"{host}:{grpc_port}"
        self.http_port = http_port
        self.ready = True
        self.waiting = self.cancelled = 0
        self.metadata: dict[str, str] = {}
        self._gate = threading.Condition()
        self._hold = True
        self._http = ThreadingHTTPServer((host, http_port), self._readiness())
        self._pool = ThreadPoolExecutor(32)
        self._server = grpc.server(self._pool)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.url)

    def __enter__(self) -> "Holding":
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
