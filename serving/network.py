"""One ONNX model as its Triton config describes it: opened, checked against it, run on many requests."""

import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

DTYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}
SMALL_BYTES = 256 << 20
"""Networks of less weights have a second session, for threads with rows of their own: see Network."""
THREADS = {"intra_op_thread_count": "intra_op_num_threads", "inter_op_thread_count": "inter_op_num_threads"}
ONE_THREAD = {"intra_op_thread_count": {"string_value": "1"}}


class ConfigError(Exception):
    """The model cannot be served as its config says; the message names the difference."""


class InputError(ValueError):
    """A request's tensors do not fit the model."""


@dataclass(frozen=True)
class Port:
    """An input or output: `dtype` as Triton names it, `shape` with the batch axis, -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    @classmethod
    def of_config(cls, entry: dict, batched: bool) -> "Port":
        # Triton applies `reshape` before a backend sees the tensor, and undoes it on the way out.
        dims = entry["reshape"]["shape"] if "reshape" in entry else entry["dims"]
        shape = ((-1,) if batched else ()) + tuple(map(int, dims))
        return cls(entry["name"], entry["data_type"], shape, bool(entry.get("optional")))

    @classmethod
    def of_onnx(cls, node) -> "Port":
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        return cls(node.name, DTYPES.get(node.type, node.type), shape)

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether no fixed size differs."""
        return len(shape) == len(self.shape) and all(
            size == own or -1 in (size, own) for size, own in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype.removeprefix('TYPE_')} {list(self.shape)}"


class Network:
    """A session and the requests it can merge.

    Threads that share the operators of a small network mostly wait for each other. So on a CPU those of a network
    below SMALL_BYTES share out the rows of a batch instead: the same results to the bit, 10 to 20 % sooner, and no
    thread that spins in wait for the next operator while another model's could work. A single row has all threads.

    `config` is the model config as Triton hands it over (a dict of the JSON), `gpu` the device's number or
    None for the CPU. Raises ConfigError.
    """

    def __init__(self, path: Path, config: dict, gpu: int | None = None):
        if not path.is_file():
            raise ConfigError(f"there is no {path.name} in version {path.parent.name}: run `make export`.")
        self.batched = int(config["max_batch_size"]) > 0
        self.inputs = [Port.of_config(entry, self.batched) for entry in config["input"]]
        self.outputs = [Port.of_config(entry, self.batched) for entry in config["output"]]
        self.row_threads = _row_threads(path, config, gpu) if self.batched else 1
        self.session = open_session(path, config, gpu, spin=self.row_threads == 1)
        if self.row_threads > 1:
            one_thread = {**config, "parameters": {**config["parameters"], **ONE_THREAD}}
            self.row_session = open_session(path, one_thread, gpu)
            self.pool = ThreadPoolExecutor(self.row_threads - 1)
        graph = {node.name: Port.of_onnx(node) for node in self.session.get_inputs()}
        defaults = {node.name for node in self.session.get_overridable_initializers()}
        differences = compare(self.inputs, graph, "input", defaults)
        required = [name for name in graph if name not in {port.name for port in self.inputs}]
        differences += [f"the model also needs input '{name}' ({graph[name]})" for name in required]
        results = {node.name: Port.of_onnx(node) for node in self.session.get_outputs()}
        differences += compare(self.outputs, results, "output")
        if self.batched and int(config["max_batch_size"]) > 1:
            fixed = [name for name, port in graph.items() if port.shape[:1] not in ((-1,), ())]
            differences += [f"input '{name}' has a fixed batch axis, {graph[name]}" for name in fixed]
        if differences:
            raise ConfigError(f"{path.name} does not match config.pbtxt: {'; '.join(differences)}.")
        self.graph = graph

    def run_all(
        self, requests: Sequence[dict[str, np.ndarray]], wanted: Sequence[Sequence[str]]
    ) -> list[dict[str, np.ndarray] | Exception]:
        """One answer a request, in order: the outputs it wants by name, or why there are none.

        Requests whose shapes agree but for the batch axis run together. When such a run fails, its requests
        run one by one, so that only the guilty one gets the error.
        """
        answers: list = [self._refusal(inputs) for inputs in requests]
        groups: dict[object, list[int]] = {}
        for index, inputs in enumerate(requests):
            if answers[index] is None:
                key = frozenset((name, array.shape[1:]) for name, array in inputs.items())
                groups.setdefault(key if self.batched else index, []).append(index)
        for members in groups.values():
            results = self._run_group([requests[i] for i in members], [wanted[i] for i in members])
            for index, result in zip(members, results, strict=True):
                answers[index] = result
        return answers

    def _refusal(self, inputs: dict[str, np.ndarray]) -> InputError | None:
        for port in self.inputs:
            array = inputs.get(port.name)
            if array is None and not port.optional:
                return InputError(f"input '{port.name}' is missing")
            if array is None:
                continue
            expected = self.graph.get(port.name, port)
            given = Port(port.name, _triton_name(array.dtype), array.shape)
            fits = port.accepts(array.shape) and expected.accepts(array.shape)
            if given.dtype != port.dtype or not fits:
                return InputError(f"input '{port.name}' is {given} and the model takes {expected}")
        return None

    def _run_group(self, requests, wanted) -> Sequence[dict[str, np.ndarray] | Exception]:
        try:
            return self._run(requests, wanted)
        except Exception as error:
            if len(requests) == 1:
                return [InputError(str(error)) if isinstance(error, InvalidArgument) else error]
        return [self._run_group([inputs], [names])[0] for inputs, names in zip(requests, wanted, strict=True)]

    def _run(self, requests, wanted) -> list[dict[str, np.ndarray]]:
        names = sorted({name for names in wanted for name in names})
        if len(requests) == 1:
            return [self._outputs(names, requests[0])]
        merged = {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}
        rows = np.cumsum([len(next(iter(inputs.values()))) for inputs in requests])
        results = self._outputs(names, merged)
        for name, array in results.items():
            if array.shape[:1] != (rows[-1],):
                raise ConfigError(f"output '{name}' is {list(array.shape)} for a batch of {rows[-1]}")
        parts = {name: np.split(array, rows[:-1]) for name, array in results.items()}
        return [{name: parts[name][i] for name in names} for i, names in enumerate(wanted)]

    def _outputs(self, names: list[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values()))) if self.row_threads > 1 else 1
        if rows == 1:
            return dict(zip(names, self.session.run(names, inputs), strict=True))
        ends = np.linspace(0, rows, min(self.row_threads, rows) + 1).astype(int)
        mine, *others = [{name: array[a:b] for name, array in inputs.items()} for a, b in pairwise(ends)]
        running = [self.pool.submit(self.row_session.run, names, share) for share in others]
        parts = [self.row_session.run(names, mine), *(share.result() for share in running)]
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}


def compare(ports: Sequence[Port], graph: dict[str, Port], role: str, known: Collection[str] = ()) -> list[str]:
    """What differs between a config's inputs or outputs and the model's, a phrase each."""
    differences = []
    for port in ports:
        own = graph.get(port.name)
        if own is None and port.name not in known:
            differences.append(f"the model has no {role} '{port.name}', only {', '.join(sorted(graph))}")
        elif own is not None and (own.dtype != port.dtype or not own.accepts(port.shape)):
            differences.append(f"{role} '{port.name}' is {own} in the model and {port} in the config")
    return differences


def open_session(path: Path, config: dict, gpu: int | None, *, spin: bool = True) -> onnxruntime.InferenceSession:
    """The session that the config's `parameters` and `execution_accelerators` describe.

    Without `spin` its threads sleep between operators.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    threads = _threads(config.get("parameters", {}))
    for name, count in threads.items():
        setattr(options, name, count)
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    chosen = accelerators.get(f"{'cpu' if gpu is None else 'gpu'}_execution_accelerator", [])
    for accelerator in chosen:
        if accelerator["name"] != "openvino" or gpu is not None:
            raise ConfigError(f"no execution accelerator '{accelerator['name']}'; only openvino, on CPUs")
        _add_openvino(options, accelerator.get("parameters", {}), threads)
    if chosen:
        return onnxruntime.InferenceSession(str(path), options)
    providers: list = ["CPUExecutionProvider"]
    if gpu is not None:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    # ONNX Runtime falls back to the CPU with no more than a warning.
    if gpu is not None and "CUDAExecutionProvider" not in session.get_providers():
        raise ConfigError(
            f"KIND_GPU asks for GPU {gpu} and ONNX Runtime's CUDA provider did not start: it wants CUDA 13 "
            "and cuDNN 9 in the environment; or serve with KIND_CPU."
        )
    return session


def _row_threads(path: Path, config: dict, gpu: int | None) -> int:
    """How many threads share out the rows of a batch; 1 where they share the operators instead."""
    accelerated = gpu is not None or config.get("optimization", {}).get("execution_accelerators")
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    if accelerated or size > SMALL_BYTES:
        return 1
    return _threads(config.get("parameters", {})).get("intra_op_num_threads", 1)


def _threads(parameters: dict) -> dict[str, int]:
    unknown = sorted(set(parameters) - set(THREADS))
    if unknown:
        raise ConfigError(f"unknown parameters {', '.join(unknown)}; known: {', '.join(THREADS)}")
    return {THREADS[key]: int(value["string_value"]) for key, value in parameters.items()}


@cache
def openvino_devices() -> list:
    """The processors that ONNX Runtime's OpenVINO plug-in offers here: Intel's only."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        raise ConfigError("openvino is asked for: pip install onnxruntime-ep-openvino") from None
    onnxruntime.register_execution_provider_library("openvino", plugin.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == plugin.get_ep_name()]
    return [device for device in devices if device.device.type.name == "CPU"]


def _add_openvino(options, parameters: dict[str, str], threads: dict[str, int]) -> None:
    """Hand the model to OpenVINO on the CPU; `parameters` are its properties (INFERENCE_PRECISION_HINT …)."""
    devices = openvino_devices()
    if not devices:
        raise ConfigError("openvino is asked for and serves Intel processors only, not this machine's")
    properties = dict(parameters)
    if threads.get("intra_op_num_threads"):
        properties.setdefault("INFERENCE_NUM_THREADS", str(threads["intra_op_num_threads"]))
    options.add_provider_for_devices(devices, {"load_config": json.dumps({"CPU": properties})})


def _triton_name(dtype: np.dtype) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    bits = dtype.itemsize * 8
    return "TYPE_BOOL" if dtype.kind == "b" else f"TYPE_{kinds.get(dtype.kind, dtype.kind)}{bits}"
