"""Compares an exported network with the module it was made from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
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


def _inputs(network: Network) -> list[dict[str, torch.Tensor]]:
    return [network.example(sizes, seed) for seed, sizes in enumerate(network.sizes, start=1)]


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
