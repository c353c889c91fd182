"""One edit's trace, as text: `make trace`.

Starts a server that sends its OpenTelemetry traces to a collector here, edits one picture, and prints the spans of
that edit as a tree, each with its milliseconds; repeated spans of a network are one line.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from recast import Client

from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.telemetry import Traces

T = TypeVar("T")
REPOSITORY = Path("model_repository")
PICTURE = Path("docker/health.png")
WAIT = 60.0
"""Seconds until a finished request's spans have come; tritonserver sends them every 5."""
TRIES = 4
"""tritonserver overlooks the traceparent of one request in forty, whose spans then never come."""


@dataclass(frozen=True)
class Span:
    """A span: what took from `start` to `end`, in milliseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start: float
    end: float
    request_id: str = ""

    @classmethod
    def of(cls, span: dict[str, Any]) -> "Span":
        """One of OTLP's JSON encoding."""
        values = {item["key"]: item["value"] for item in span.get("attributes", [])}
        return cls(
            span["traceId"],
            span["spanId"],
            span.get("parentSpanId", ""),
            span["name"],
            int(span["startTimeUnixNano"]) / 1e6,
            int(span["endTimeUnixNano"]) / 1e6,
            values.get("triton.request_id", {}).get("stringValue", ""),
        )


class Collector:
    """What an OpenTelemetry collector receives over OTLP/HTTP, in JSON as tritonserver sends it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.receive(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def receive(self, document: dict[str, Any]) -> None:
        scopes = [scope for resource in document["resourceSpans"] for scope in resource["scopeSpans"]]
        self.spans += [Span.of(span) for scope in scopes for span in scope["spans"]]

    def trace(self, call: Callable[[], T]) -> tuple[T, str, list[Span]]:
        """What `call` answered, the id of its caller's span and all spans of its trace.

        It is called TRIES times, each a trace of its own, and the first whose spans have come is taken; TimeoutError
        when none does.
        """
        calls = {}
        for _ in range(TRIES):
            trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
            os.environ["TRACEPARENT"] = f"00-{trace_id}-{span_id}-01"  # the client finds it there
            try:
                calls[trace_id] = (call(), span_id)
            finally:
                del os.environ["TRACEPARENT"]
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            whole = {span.trace_id for span in self.spans if span.name == "InferRequest"} & calls.keys()
            if whole:
                trace_id = whole.pop()
                return *calls[trace_id], [span for span in self.spans if span.trace_id == trace_id]
            time.sleep(0.1)
        raise TimeoutError(f"none of {TRIES} traces came within {WAIT:g} s")


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    running = Collector()
    thread = threading.Thread(target=running._server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running._server.shutdown()
        running._server.server_close()
        thread.join()


def tree(spans: list[Span], parent_id: str, indent: str = "") -> list[str]:
    """The lines of what lies under `parent_id`, in the order of their start; neighbours of one name are one line.

    Each model's span holds one `compute`, its time but for the queue, which has no line.
    """
    children = [span for span in spans if span.parent_id == parent_id and span.name != "compute"]
    children.sort(key=lambda span: span.start)
    lines = []
    for name, group in groupby(children, key=lambda span: span.name):
        same = list(group)
        times = f" × {len(same)}" if len(same) > 1 else ""
        milliseconds = sum(span.end - span.start for span in same)
        lines.append(f"{indent + name + times:<44}{milliseconds:8.1f} ms")
        lines += tree(spans, same[0].span_id, indent + "  ")
    return lines


def main() -> None:
    with collector() as collected, start(ServerOptions(REPOSITORY, traces=Traces(collected.url))) as server:
        with Client(server.grpc_url) as client:
            edit, caller, spans = collected.trace(
                lambda: client.replace(PICTURE, "Replace the car with a bicycle", seed=1)
            )
    print(f"trace {spans[0].trace_id}, request {edit.request_id}")
    print("\n".join(tree(spans, caller)))


if __name__ == "__main__":
    main()
