"""What computes a network's file: ONNX Runtime, or OpenVINO where the config asks for it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

Tensors = dict[str, np.ndarray]
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
    """`defaults` names what may be given and need not be. Of `run_shares` each share runs in one thread."""

    inputs: list[Port]
    outputs: list[Port]
    defaults: frozenset[str]

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]: ...

    def run_shares(self, names: Sequence[str], shares: Sequence[Tensors]) -> list[list[np.ndarray]]: ...


class OnnxRuntime:
    """On the CPU, or on the GPU of that number. With `sharing`, threads that wait sleep instead of spinning."""

    def __init__(self, path: Path, gpu: int | None, threads: dict[str, int], sharing: bool):
        self._path, self._gpu = path, gpu
        self._session = self._open(threads, spin=not sharing)
        if sharing:
            count = threads[THREADS["intra_op_thread_count"]]
            self._one_thread = self._open({**threads, THREADS["intra_op_thread_count"]: 1}, spin=False)
            self._others = ThreadPoolExecutor(max(1, count - 1))
        self.inputs = [self._port(node) for node in self._session.get_inputs()]
        self.outputs = [self._port(node) for node in self._session.get_outputs()]
        self.defaults = frozenset(node.name for node in self._session.get_overridable_initializers())

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        return self._session.run(names, inputs)

    def run_shares(self, names: Sequence[str], shares: Sequence[Tensors]) -> list[list[np.ndarray]]:
        mine, *others = shares
        running = [self._others.submit(self._one_thread.run, names, share) for share in others]
        return [self._one_thread.run(names, mine), *(share.result() for share in running)]

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
    processor computes with them."""

    defaults: frozenset[str] = frozenset()

    def __init__(self, path: Path, properties: dict[str, str], threads: dict[str, int], sharing: bool):
        count = threads.get(THREADS["intra_op_thread_count"], 0)
        # Every network is a process of its own: none may claim cores for itself.
        chosen = {"ENABLE_CPU_PINNING": False, "INFERENCE_NUM_THREADS": count, **properties}
        model = openvino_core().read_model(path)
        self._whole = openvino_core().compile_model(model, "CPU", {"NUM_STREAMS": 1, **chosen}).create_infer_request()
        if sharing:
            streams = openvino_core().compile_model(model, "CPU", {**chosen, "NUM_STREAMS": count})
            self._streams = [streams.create_infer_request() for _ in range(count)]
        self.inputs = [self._port(port) for port in model.inputs]
        self.outputs = [self._port(port) for port in model.outputs]

    def run(self, names: Sequence[str], inputs: Tensors) -> list[np.ndarray]:
        self._whole.infer(inputs, share_inputs=True)
        return self._results(self._whole, names)

    def run_shares(self, names: Sequence[str], shares: Sequence[Tensors]) -> list[list[np.ndarray]]:
        running = self._streams[: len(shares)]
        for request, share in zip(running, shares, strict=True):
            request.start_async(share, share_inputs=True)
        failures = [failure for request in running if (failure := self._end(request)) is not None]
        if failures:
            raise failures[0]
        return [self._results(request, names) for request in running]

    @staticmethod
    def _end(request: Any) -> RuntimeError | None:
        try:
            request.wait()
        except RuntimeError as failure:
            return failure
        return None

    @staticmethod
    def _results(request: Any, names: Sequence[str]) -> list[np.ndarray]:
        return [request.get_tensor(name).data.copy() for name in names]

    @staticmethod
    def _port(port: Any) -> Port:
        shape = tuple(size.get_length() if size.is_static else -1 for size in port.partial_shape)
        return Port(port.any_name, triton_name(np.dtype(port.element_type.to_dtype())), shape)


def open_session(path: Path, config: dict, gpu: int | None, *, sharing: bool = False) -> Session:
    """The session that the config's `parameters` and `execution_accelerators` describe.

    With `sharing` it has `run_shares` too, and gives its threads up while it has nothing to do.
    """
    threads = thread_counts(config)
    place = "cpu" if gpu is None else "gpu"
    chosen = config.get("optimization", {}).get("execution_accelerators", {}).get(f"{place}_execution_accelerator", [])
    for accelerator in chosen:
        if accelerator["name"] != "openvino" or gpu is not None:
            raise ConfigError(f"no execution accelerator '{accelerator['name']}'; only openvino, on CPUs")
        return OpenVino(path, accelerator.get("parameters", {}), threads, sharing)
    return OnnxRuntime(path, gpu, threads, sharing)


def thread_counts(config: dict) -> dict[str, int]:
    """By the name of ONNX Runtime's option; ConfigError for a parameter that is not known."""
    parameters = config.get("parameters", {})
    unknown = sorted(set(parameters) - set(THREADS))
    if unknown:
        raise ConfigError(f"unknown parameters {', '.join(unknown)}; known: {', '.join(THREADS)}")
    return {THREADS[key]: int(value["string_value"]) for key, value in parameters.items()}


@cache
def openvino_core() -> Any:
    """OpenVINO's; it loads in a tenth of a second, for those networks alone that ask for it."""
    try:
        import openvino
    except ImportError:
        raise ConfigError("openvino is asked for: pip install openvino") from None
    return openvino.Core()


def computes_in_bf16() -> bool:
    """Whether this processor has instructions for bf16 (AMX, AVX512-BF16)."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def triton_name(dtype: np.dtype) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    bits = dtype.itemsize * 8
    return "TYPE_BOOL" if dtype.kind == "b" else f"TYPE_{kinds.get(dtype.kind, dtype.kind)}{bits}"
