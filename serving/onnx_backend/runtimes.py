"""What computes a network's file: ONNX Runtime, or OpenVINO where the config asks for it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import onnxruntime
from cachetools import LRUCache

Tensors = dict[str, np.ndarray]
SLICE = "rows_at_once"
"""The config's parameter for how many rows of a batch are computed together, as diffusers slices a VAE's: the memory
of the largest batch that ever came is never given back, and pictures gain nothing from a batch. Default: all."""
THREADS = {"intra_op_thread_count": "intra_op_num_threads", "inter_op_thread_count": "inter_op_num_threads"}


class ConfigError(Exception):
    """The model cannot be served as its config says; the message names the difference."""


@dataclass(frozen=True)
class Port:
    """An input or output: `dtype` as Triton names it, `shape` with the batch axis, -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether no fixed size differs."""
        return len(shape) == len(self.shape) and all(
            size == own or -1 in (size, own) for size, own in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype.removeprefix('TYPE_')} {list(self.shape)}"


class Session(Protocol):
    """`defaults` names what may be given and need not be."""

    inputs: list[Port]
    outputs: list[Port]
    defaults: frozenset[str]

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        """The outputs of these names, computed by all threads."""
        ...

    def run_alone(self, names: Sequence[str], inputs: Tensors, lane: int) -> list[np.ndarray]:
        """The same by one thread, to the bit; what differs in `lane` may run at once."""
        ...


class OnnxRuntime:
    """On the CPU, or on the GPU of that number. With `lanes`, threads that wait sleep instead of spinning."""

    def __init__(self, path: Path, gpu: int | None, threads: dict[str, int], lanes: int):
        self._path, self._gpu = path, gpu
        self._session = self._open(threads, spin=not lanes)
        if lanes:
            self._one_thread = self._open({**threads, THREADS["intra_op_thread_count"]: 1}, spin=False)
        self.inputs = [self._port(node) for node in self._session.get_inputs()]
        self.outputs = [self._port(node) for node in self._session.get_outputs()]
        self.defaults = frozenset(node.name for node in self._session.get_overridable_initializers())

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        return self._session.run(names, inputs)

    def run_alone(self, names: Sequence[str], inputs: Tensors, lane: int) -> list[np.ndarray]:
        return self._one_thread.run(names, inputs)

    def _open(self, threads: dict[str, int], *, spin: bool) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        for name, count in threads.items():
            setattr(options, name, count)
        providers: list = ["CPUExecutionProvider"]
        if self._gpu is not None:
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": self._gpu}))
        session = onnxruntime.InferenceSession(str(self._path), options, providers=providers)
        # ONNX Runtime falls back to the CPU with no more than a warning.
        if self._gpu is not None and "CUDAExecutionProvider" not in session.get_providers():
            raise ConfigError(
                f"KIND_GPU asks for GPU {self._gpu} and ONNX Runtime's CUDA provider did not start: it wants CUDA 13 "
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
    """On the CPU, with OpenVINO's `properties`, such as INFERENCE_PRECISION_HINT bf16 for half the bits where the
    processor computes with them.

    A network with `lanes` is compiled anew for each shape of its rows and each of the batches SIZES, when that shape
    comes for the first time: a graph that takes any shape is a fifth slower, and needs milliseconds for each change.
    """

    SIZES = (4, 2, 1)
    SHAPES = 2
    """Shapes of rows that are kept compiled."""
    defaults: frozenset[str] = frozenset()

    def __init__(self, path: Path, properties: dict[str, str], threads: dict[str, int], lanes: int):
        count = threads[THREADS["intra_op_thread_count"]]
        # Every network is a process of its own: none may claim cores for itself.
        self._properties = {"ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": count, **properties}
        self._lanes = lanes
        self._model = openvino_core().read_model(path)
        self.inputs = [self._port(port) for port in self._model.inputs]
        self.outputs = [self._port(port) for port in self._model.outputs]
        self._any_shape = None if lanes else self._compile(self._model, 1)[0]
        self._compiled: LRUCache[frozenset, dict[int, list[Any]]] = LRUCache(self.SHAPES)
        self._compiling = Lock()

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        request = self._any_shape or self._fixed(inputs)[0][0]
        return self._results(request, names, inputs)

    def run_alone(self, names: Sequence[str], inputs: Tensors, lane: int) -> list[np.ndarray]:
        requests, rows = self._fixed(inputs), len(next(iter(inputs.values())))
        parts, done = [], 0
        while done < rows:
            size = next(size for size in self.SIZES if size <= rows - done)
            part = {name: array[done : done + size] for name, array in inputs.items()}
            parts.append(self._results(requests[size][lane], names, part))
            done += size
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _fixed(self, inputs: Tensors) -> dict[int, list[Any]]:
        """For rows of these shapes: the request that computes one with all threads (0), and by size those of lanes."""
        shapes = frozenset((name, array.shape[1:]) for name, array in inputs.items())
        with self._compiling:
            if shapes not in self._compiled:
                self._compiled[shapes] = self._compile_sizes(dict(shapes))
            return self._compiled[shapes]

    def _compile_sizes(self, shapes: dict[str, tuple[int, ...]]) -> dict[int, list[Any]]:
        models = {size: self._model.clone() for size in self.SIZES}
        for size, model in models.items():
            model.reshape({name: [size, *shape] for name, shape in shapes.items()})
        return {
            0: self._compile(models[1], 1),
            **{size: self._compile(models[size], self._lanes) for size in self.SIZES},
        }

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


def open_session(path: Path, config: dict, gpu: int | None, *, lanes: int = 0) -> Session:
    """The session that the config's `parameters` and `execution_accelerators` describe.

    With `lanes` it can `run_alone` in so many threads, and gives its own up while it has nothing to do.
    """
    threads = thread_counts(config)
    place = "cpu" if gpu is None else "gpu"
    chosen = config.get("optimization", {}).get("execution_accelerators", {}).get(f"{place}_execution_accelerator", [])
    for accelerator in chosen:
        if accelerator["name"] != "openvino" or gpu is not None:
            raise ConfigError(f"no execution accelerator '{accelerator['name']}'; only openvino, on CPUs")
        return OpenVino(path, accelerator.get("parameters", {}), threads, lanes)
    return OnnxRuntime(path, gpu, threads, lanes)


def thread_counts(config: dict) -> dict[str, int]:
    """By the name of ONNX Runtime's option, the cores of this process where the config gives no intra_op_thread_count.

    ConfigError for a parameter that is not known.
    """
    parameters = config.get("parameters", {})
    unknown = sorted(set(parameters) - {*THREADS, SLICE})
    if unknown:
        raise ConfigError(f"unknown parameters {', '.join(unknown)}; known: {', '.join((*THREADS, SLICE))}")
    given = {THREADS[key]: int(value["string_value"]) for key, value in parameters.items() if key in THREADS}
    return {THREADS["intra_op_thread_count"]: len(os.sched_getaffinity(0)), **given}


@cache
def openvino_core() -> Any:
    """OpenVINO's; it loads in a tenth of a second, for those networks alone that ask for it."""
    try:
        import openvino
    except ImportError:
        raise ConfigError("openvino is asked for: pip install openvino") from None
    return openvino.Core()


def triton_name(dtype: np.dtype) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    bits = dtype.itemsize * 8
    return "TYPE_BOOL" if dtype.kind == "b" else f"TYPE_{kinds.get(dtype.kind, dtype.kind)}{bits}"
