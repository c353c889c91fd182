"""Writes a network as ONNX."""

import logging
import warnings
from pathlib import Path

import onnx
import torch

from export.network import Network

OPSET = 18


def write(network: Network, file: Path) -> None:
    """Write `network` to `file`, its weights beside it in `file`.data, and run the ONNX checker over it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.module.eval(),
            kwargs=network.example(network.sizes[0]),
            dynamic_shapes=network.dynamic_shapes(),
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        program.save(str(file), external_data=True)
    _mark_symbolic(network, file)
    onnx.checker.check_model(str(file), full_check=True)


def _mark_symbolic(network: Network, file: Path) -> None:
    """Name the axes that config.pbtxt leaves open: Triton's ONNX Runtime backend refuses a number against a -1."""
    model = onnx.load(str(file), load_external_data=False)
    tensors = {tensor.name: tensor for tensor in [*model.graph.input, *model.graph.output]}
    for name, place, axis in network.constant_axes():
        tensors[name].type.tensor_type.shape.dim[place].dim_param = axis
    onnx.save(model, str(file))
