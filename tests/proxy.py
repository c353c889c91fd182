"""Small gRPC servers to stand behind the front proxy, where a test must know which of them has which call."""

import socket
import struct
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


class Names:
    """A DNS server at `url` that gives every name the addresses in `addresses`, which may change."""

    def __init__(self, *addresses: str):
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Names":
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:
                return
            end = query.index(0, 12) + 5  # the question: a name that ends with 0, its type and class
            kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
            addresses = self.addresses if kind == 1 else []  # those of IPv4
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(addresses), 0, 0)
            # Each answer is of the name at byte 12, an address, for a second.
            answers = [struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(each) for each in addresses]
            self._socket.sendto(head + query[12:end] + b"".join(answers), peer)
