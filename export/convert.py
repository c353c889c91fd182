"""Writes a network as ONNX."""

import logging
import warnings
from pathlib import Path

import onnx
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes

from export.network import Network
from export.norms import flatten

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
            optimize=False,
        )
        assert program is not None  # dynamo=True always returns one
        # its own optimize=True also tries every rewrite rule everywhere: a quarter of the time, and ONNX Runtime
        # does the same when it loads the file
        fold_constants(program.model)
        flatten(program.model)
        remove_unused_nodes(program.model)
        program.save(str(file), external_data=True)
    _tidy(network, file)
    onnx.checker.check_model(str(file), full_check=True)


def _tidy(network: Network, file: Path) -> None:
    """Name the axes that config.pbtxt leaves open, and drop the exporter's stack traces.

    Triton's ONNX Runtime backend refuses a number in the file against a -1 in the configuration.
    """
    model = onnx.load(str(file), load_external_data=False)
    for node in model.graph.node:
        node.ClearField("metadata_props")
    tensors = {tensor.name: tensor for tensor in [*model.graph.input, *model.graph.output]}
    for name, place, axis in network.constant_axes():
        tensors[name].type.tensor_type.shape.dim[place].dim_param = axis
    onnx.save(model, str(file))
