"""Compares an exported network with the module it was made from."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from export.errors import ExportError
from export.network import Network


def reference(network: Network) -> list[np.ndarray]:
    """The module's own outputs at each of the network's sizes; to be asked for before the module is lowered."""
    with torch.no_grad():
        return [network.module(**inputs).numpy() for inputs in _inputs(network)]


def compare(network: Network, file: Path, wanted: Sequence[np.ndarray]) -> float:
    """Run ONNX Runtime on the seeded inputs of `reference`, whose answers are `wanted`: the largest error.

    The error is max |difference| over max |torch output|. Raises ExportError above the network's tolerance.
    A bf16 network is computed in float32 from its bf16 weights: on CPUs ONNX Runtime has no kernels for bf16.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    with _widened(file) if network.precision == "bf16" else nullcontext(file) as runnable:
        session = onnxruntime.InferenceSession(str(runnable), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for sizes, inputs, expected in zip(network.sizes, _inputs(network), wanted, strict=True):
        try:
            (found,) = session.run(list(network.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        except Exception as refusal:  # ONNX Runtime's errors have no class in common
            raise ExportError(f"{network.name} in ONNX does not run at {dict(sizes)}: {refusal}") from refusal
        error = _error(found, expected)
        if not error <= network.tolerance:
            raise ExportError(
                f"{network.name} in ONNX is off by {error:.1e} of its largest output at {dict(sizes)}, where"
                f" {network.tolerance:.0e} is allowed: nothing was released"
            )
        worst = max(worst, error)
    return worst


@contextmanager
def _widened(file: Path) -> Iterator[Path]:
    """A copy of the network in `file` with float32 wherever it has bfloat16, while the context lasts."""
    bf16, fp32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    model = onnx.load(file)
    constants = [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type == bf16:
            wide = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor).astype(np.float32))
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == bf16:
                attribute.i = fp32
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        copy = Path(folder) / file.name
        onnx.save(model, copy, save_as_external_data=True, location=f"{file.name}.data")
        yield copy


def _inputs(network: Network) -> list[dict[str, torch.Tensor]]:
    return [network.example(sizes, seed) for seed, sizes in enumerate(network.sizes, start=1)]


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
