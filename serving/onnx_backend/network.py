"""One ONNX model as its Triton config describes it: opened, checked against it, run on many requests."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from serving.onnx_backend.config import ConfigError, Port, Settings, triton_name
from serving.onnx_backend.runtimes import Tensors, open_runtime

SMALL_BYTES = 64 << 20
"""Networks of less weights have their threads share out rows: see Network."""


class InputError(ValueError):
    """A request's tensors do not fit the model."""


class Network:
    """A runtime with its file, and the requests that it can merge.

    Threads that share the operators of a small network mostly wait for each other. So on a CPU those of a network
    below SMALL_BYTES share out the rows of a batch instead: the same results to the bit, 10 to 20 % sooner, and no
    thread that spins in wait for the next operator while another model's could work. A single row has all threads.

    `config` is the model config as Triton hands it over (a dict of the JSON), `gpu` the device's number or
    None for the CPU. Raises ConfigError.
    """

    def __init__(self, path: Path, config: dict, gpu: int | None = None):
        if not path.is_file():
            raise ConfigError(f"there is no {path.name} in version {path.parent.name}: run `make export`.")
        largest = int(config["max_batch_size"])
        self.batched = largest > 0
        self.inputs = [Port.of(entry, batched=self.batched) for entry in config["input"]]
        self.outputs = [Port.of(entry, batched=self.batched) for entry in config["output"]]
        settings = Settings.of(config, gpu)
        self.rows_at_once = settings.rows_at_once if self.batched else None
        self.streams = _streams(path, settings, largest)
        self.runtime = open_runtime(path, settings, streams=self.streams)
        self.pool = ThreadPoolExecutor(self.streams) if self.streams else None
        self.graph = {port.name: port for port in self.runtime.inputs}
        differences = self._differences(largest)
        if differences:
            raise ConfigError(f"{path.name} does not match config.pbtxt: {'; '.join(differences)}.")

    def _differences(self, largest: int) -> list[str]:
        """Between the file and a config of that largest batch, a phrase each."""
        graph = self.graph
        differences = compare(self.inputs, graph, "input", self.runtime.defaults)
        required = [name for name in graph if name not in {port.name for port in self.inputs}]
        differences += [f"the model also needs input '{name}' ({graph[name]})" for name in required]
        differences += compare(self.outputs, {port.name: port for port in self.runtime.outputs}, "output")
        if largest > 1:
            fixed = [name for name, port in graph.items() if port.shape[:1] not in ((-1,), ())]
            differences += [f"input '{name}' has a fixed batch axis, {graph[name]}" for name in fixed]
        return differences

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
            given = Port(port.name, triton_name(array.dtype), array.shape)
            fits = port.accepts(array.shape) and expected.accepts(array.shape)
            if given.dtype != port.dtype or not fits:
                return InputError(f"input '{port.name}' is {given} and the model takes {expected}")
        return None

    def _run_group(self, requests, wanted) -> Sequence[dict[str, np.ndarray] | Exception]:
        try:
            return self._run(requests, wanted)
        except Exception as error:
            if len(requests) == 1:
                return [input_error(requests[0], error)]
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
        rows = len(next(iter(inputs.values()))) if self.pool else 1
        if self.pool is None or rows == 1:
            return dict(zip(names, self._sliced(partial(self.runtime.run, names), inputs), strict=True))
        ends = np.linspace(0, rows, min(self.streams, rows) + 1).astype(int)
        running = [
            self.pool.submit(self._sliced, partial(self.runtime.run_alone, names, stream=stream), _rows(inputs, a, b))
            for stream, (a, b) in enumerate(pairwise(ends))
        ]
        wait(running)  # all of them, before one that failed is tried again
        parts = [share.result() for share in running]
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def _sliced(self, run: Callable[..., list[np.ndarray]], inputs: Tensors) -> list[np.ndarray]:
        """`run` on `rows_at_once` rows after the other."""
        some = self.rows_at_once
        if some is None:  # an input may have no axis at all
            return run(inputs=inputs)
        rows = len(next(iter(inputs.values())))
        if rows <= some:
            return run(inputs=inputs)
        parts = [run(inputs=_rows(inputs, a, a + some)) for a in range(0, rows, some)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _rows(inputs: Tensors, first: int, end: int) -> Tensors:
    return {name: array[first:end] for name, array in inputs.items()}


def input_error(inputs: dict[str, np.ndarray], error: Exception) -> Exception:
    """The caller's error for a failed run, with `error` as its cause: shapes that fit one by one, but not together, or
    values that the network cannot take. The runtimes say so with places in their own sources."""
    if isinstance(error, ConfigError | MemoryError):
        return error
    given = ", ".join(f"{name} {Port(name, triton_name(x.dtype), x.shape)}" for name, x in sorted(inputs.items()))
    reason = str(error).rpartition("Status Message: ")[2] if isinstance(error, InvalidArgument) else ""
    refusal = InputError(f"the network cannot be run on {given}{f': {reason}' if reason and '/' not in reason else ''}")
    refusal.__cause__ = error
    return refusal


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


def _streams(path: Path, settings: Settings, largest: int) -> int:
    """How many threads share out the rows of a batch of `largest`; 0 where they share the operators instead."""
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    threads = min(settings.intra_op_threads, largest)
    return threads if threads > 1 and settings.gpu is None and size <= SMALL_BYTES else 0
