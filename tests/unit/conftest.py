"""A scripted KServe v2 server over real gRPC: for faults that a healthy server cannot be asked to have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import recast
from PIL import Image
from recast import retrying, waiting
from recast.cli import main
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

from tests.unit.client_answers import Awaited

Outputs = dict[str, np.ndarray]


class Fault(Exception):
    """A gRPC status with its message, as Triton would send it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class ScriptedServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers the n-th inference with the n-th item of `script`, the last one for ever.

    An item is the outputs, a Fault, a number of seconds to hold the call, or a function of (model, inputs). A stream
    has `progress` before its outputs, which wait until `held` is set; its typed faults are messages, as Triton's are.
    """

    progress = (("parse", 1, 1), ("mask", 1, 1), ("inpaint", 1, 2), ("inpaint", 2, 2))

    def __init__(self) -> None:
        self.script: list[Outputs | Fault | float | Callable[[str, Outputs], Outputs]] = []
        self.models = {"replace": ["1"], "parse": ["1"], "mask": ["1", "2"], "inpaint": ["2"]}
        self.calls: list[tuple[str, Outputs]] = []
        self.request_ids: list[str] = []
        self.parameters: list[dict[str, str]] = []  # those of each call that are texts
        self.headers: list[dict[str, str]] = []  # of each call
        self.timeouts: list[int | None] = []
        self.grpc_seconds: list[float | None] = []  # how long gRPC gives each call
        self.streams = 0
        self.held = threading.Event()
        self.held.set()
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.grpc_url = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def ModelInfer(self, request, context):
        context.add_callback(lambda: None if self.held.is_set() else self.cancelled.set())
        try:
            return self._response(request, context)
        except Fault as fault:
            context.abort(fault.code, fault.message)

    def ModelStreamInfer(self, requests, context):
        context.add_callback(lambda: None if self.held.is_set() else self.cancelled.set())
        for request in requests:
            self.streams += 1
            try:
                last = self._response(request, context)
            except Fault as fault:
                if fault.code == grpc.StatusCode.UNAVAILABLE and ": " not in fault.message:
                    context.abort(fault.code, fault.message)
                yield messages.ModelStreamInferResponse(error_message=fault.message)
                continue
            for stage, step, steps in self.progress:
                told = {"stage": np.array([[stage.encode()]], object), "step": np.array([[step]], np.int32)}
                told["steps"] = np.array([[steps]], np.int32)
                yield messages.ModelStreamInferResponse(infer_response=_response(told, request.id))
            self.held.wait(10)
            last.parameters["triton_final_response"].bool_param = True
            yield messages.ModelStreamInferResponse(infer_response=last)

    def _response(self, request, context):
        inputs = {
            tensor.name: _array(tensor, raw)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        with self._lock:
            self.calls.append((request.model_name, inputs))
            self.request_ids.append(request.id)
            texts = {name: value.string_param for name, value in request.parameters.items()}
            self.parameters.append({name: text for name, text in texts.items() if text})
            self.headers.append(dict(context.invocation_metadata()))
            allowed = request.parameters["timeout"].int64_param if "timeout" in request.parameters else None
            self.timeouts.append(allowed)
            self.grpc_seconds.append(context.time_remaining())
            item = self.script[min(len(self.calls), len(self.script)) - 1]
        if isinstance(item, Fault):
            raise item
        if isinstance(item, float):
            if allowed is not None and allowed / 1e6 < item:  # Triton keeps the time that a call allows
                time.sleep(allowed / 1e6)
                raise Fault(grpc.StatusCode.UNAVAILABLE, "Request timeout expired")
            time.sleep(item)
            return messages.ModelInferResponse()
        outputs = item(request.model_name, inputs) if callable(item) else item
        return _response(outputs, request.id)

    def ServerMetadata(self, request, context):
        return messages.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelReady(self, request, context):
        return messages.ModelReadyResponse(ready=request.name in self.models)

    def ModelMetadata(self, request, context):
        return messages.ModelMetadataResponse(name=request.name, versions=self.models[request.name])


def _array(tensor, raw: bytes) -> np.ndarray:
    if tensor.datatype == "BYTES":
        # One element of 4 bytes of length and the value: all that the client ever sends.
        return np.array([raw[4:]], dtype=np.object_).reshape(tensor.shape)
    return np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)


def _response(outputs: Outputs, request_id: str) -> messages.ModelInferResponse:
    response = messages.ModelInferResponse(id=request_id)
    for name, value in outputs.items():
        kind = np_to_triton_dtype(value.dtype)
        response.outputs.add(name=name, datatype=kind, shape=value.shape)
        raw = serialize_byte_tensor(value).item() if kind == "BYTES" else value.tobytes()
        response.raw_output_contents.append(raw)
    return response


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture(params=[recast.Client, Awaited], ids=["Client", "AsyncClient"])
def connect(request, monkeypatch):
    """Makes a client, of either kind, whose retries come soon."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 0.04)
    monkeypatch.setattr(waiting, "SHORTEST_PAUSE", 0.02)
    return request.param


@pytest.fixture(name="street")
def street_png(tmp_path):
    """A picture of 64×48 px, street.png, alone in its folder."""
    Image.new("RGB", (64, 48), (10, 20, 30)).save(tmp_path / "street.png")
    return tmp_path / "street.png"


@pytest.fixture(name="recast")
def recast_command(scripted_server, capsys, monkeypatch):
    """Runs the command; returns its exit code, stdout and stderr."""
    monkeypatch.setenv("RECAST_URL", scripted_server.grpc_url)

    def run(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run
