"""What computes a network's file: ONNX Runtime, or OpenVINO where the config asks for it."""

from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import onnxruntime
from cachetools import LRUCache

from serving.onnx_backend.config import ConfigError, Port, Settings, triton_name

Tensors = dict[str, np.ndarray]


class Runtime(Protocol):
    """An opened file. `defaults` names what may be given and need not be."""

    inputs: list[Port]
    outputs: list[Port]
    defaults: frozenset[str]

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        """The outputs of these names, computed by all threads."""
        ...

    def run_alone(self, names: Sequence[str], inputs: Tensors, stream: int) -> list[np.ndarray]:
        """The same by one thread, to the bit; what differs in `stream` may run at once."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU or on a GPU. With `streams`, threads that wait sleep instead of spinning."""

    def __init__(self, path: Path, settings: Settings, streams: int):
        self._path, self._settings = path, settings
        self._session = self._open(settings.intra_op_threads, spin=not streams)
        if streams:
            self._one_thread = self._open(1, spin=False)
        self.inputs = [self._port(node) for node in self._session.get_inputs()]
        self.outputs = [self._port(node) for node in self._session.get_outputs()]
        self.defaults = frozenset(node.name for node in self._session.get_overridable_initializers())

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        return self._session.run(names, inputs)

    def run_alone(self, names: Sequence[str], inputs: Tensors, stream: int) -> list[np.ndarray]:
        return self._one_thread.run(names, inputs)

    def _open(self, threads: int, *, spin: bool) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        options.intra_op_num_threads = threads
        if self._settings.inter_op_threads is not None:
            options.inter_op_num_threads = self._settings.inter_op_threads
        providers: list = ["CPUExecutionProvider"]
        gpu = self._settings.gpu
        if gpu is not None:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
        session = onnxruntime.InferenceSession(str(self._path), options, providers=providers)
        # ONNX Runtime falls back to the CPU with no more than a warning.
        if gpu is not None and "CUDAExecutionProvider" not in session.get_providers():
            raise ConfigError(
                f"KIND_GPU asks for GPU {gpu} and ONNX Runtime's CUDA provider did not start: it wants CUDA 13 "
                "and cuDNN 9 in the environment; or serve with KIND_CPU."
            )
        return session

    @staticmethod
    def _port(node: Any) -> Port:
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        names = {"float": "FP32", "float16": "FP16", "double": "FP64"}
        return Port(node.name, f"TYPE_{names.get(kind, kind.upper())}", shape)


class OpenVino:
    """OpenVINO on the CPU, with properties such as INFERENCE_PRECISION_HINT bf16 for half the bits where the processor
    computes with them.

    A network with `streams` is compiled anew for each shape of its rows and each of the batches SIZES, when that shape
    comes for the first time: a graph that takes any shape is a fifth slower, and needs milliseconds for each change.
    """

    SIZES = (4, 2, 1)
    SHAPES = 2
    """Shapes of rows that are kept compiled."""
    defaults: frozenset[str] = frozenset()

    def __init__(self, path: Path, settings: Settings, streams: int):
        # Every network is a process of its own: none may claim cores for itself.
        shared = {"ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": settings.intra_op_threads}
        self._properties = {**shared, **(settings.openvino or {})}
        self._streams = streams
        self._model = openvino_core().read_model(path)
        self.inputs = [self._port(port) for port in self._model.inputs]
        self.outputs = [self._port(port) for port in self._model.outputs]
        self._any_shape = None if streams else self._compile(self._model, 1)[0]
        self._compiled: LRUCache[Hashable, dict[int, list[Any]]] = LRUCache(self.SHAPES)
        self._compiling = Lock()

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        request = self._any_shape or self._requests(inputs)[0][0]
        return self._results(request, names, inputs)

    def run_alone(self, names: Sequence[str], inputs: Tensors, stream: int) -> list[np.ndarray]:
        requests, rows = self._requests(inputs), len(next(iter(inputs.values())))
        parts, done = [], 0
        while done < rows:
            size = next(size for size in self.SIZES if size <= rows - done)
            part = {name: array[done : done + size] for name, array in inputs.items()}
            parts.append(self._results(requests[size][stream], names, part))
            done += size
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _requests(self, inputs: Tensors) -> dict[int, list[Any]]:
        """OpenVINO's requests for rows of these shapes: one with all threads (0), and by size one for each stream."""
        shapes = {name: array.shape[1:] for name, array in inputs.items()}
        key = frozenset(shapes.items())
        with self._compiling:
            if key not in self._compiled:
                self._compiled[key] = self._compile_all(shapes)
            return self._compiled[key]

    def _compile_all(self, shapes: dict[str, tuple[int, ...]]) -> dict[int, list[Any]]:
        models = {size: self._model.clone() for size in self.SIZES}
        for size, model in models.items():
            model.reshape({name: [size, *shape] for name, shape in shapes.items()})
        by_size = {size: self._compile(models[size], self._streams) for size in self.SIZES}
        return {0: self._compile(models[1], 1), **by_size}

    def _compile(self, model: Any, streams: int) -> list[Any]:
        """One request for each of `streams`, which share out the threads."""
        compiled = openvino_core().compile_model(model, "CPU", {**self._properties, "NUM_STREAMS": streams})
        return [compiled.create_infer_request() for _ in range(streams)]

    @staticmethod
    def _results(request: Any, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        request.infer(inputs, share_inputs=True)
        return [request.get_tensor(name).data.copy() for name in names]

    @staticmethod
    def _port(port: Any) -> Port:
        shape = tuple(size.get_length() if size.is_static else -1 for size in port.partial_shape)
        return Port(port.any_name, triton_name(np.dtype(port.element_type.to_dtype())), shape)


def open_runtime(path: Path, settings: Settings, *, streams: int = 0) -> Runtime:
    """The file at `path`, as `settings` have it computed.

    With `streams` it can `run_alone` in so many threads, and gives its own up while it has nothing to do.
    """
    runtime = OnnxRuntime if settings.openvino is None else OpenVino
    return runtime(path, settings, streams)


@cache
def openvino_core() -> Any:
    """OpenVINO's; it loads in a tenth of a second, for those networks alone that ask for it."""
    try:
        import openvino
    except ImportError:
        raise ConfigError("openvino is asked for: pip install openvino") from None
    return openvino.Core()
