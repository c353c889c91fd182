"""Small ONNX models and their Triton configs, for the backend's tests."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

TALLY = """max_batch_size: 8
instance_group [ { kind: KIND_CPU count: 1 } ]
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [
  { name: "doubled" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "company" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [] } }
]
"""
LOOKUP = """max_batch_size: 4
instance_group [ { kind: KIND_CPU count: 1 } ]
input [ { name: "index" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "value" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
SCALE_ROWS = """max_batch_size: 4
instance_group [ { kind: KIND_CPU count: 1 } ]
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "factor" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [] } }
]
output [ { name: "scaled" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""


def write(repository: Path, name: str, config: str, model: onnx.ModelProto, filename: str = "model.onnx") -> None:
    """Version 1 of the model `name`; `config` is the config.pbtxt but for its backend line."""
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{config}')
    onnx.checker.check_model(model)
    onnx.save(model, folder / filename)


def graph(nodes, inputs, outputs, constants=()) -> onnx.ModelProto:
    """A model of `nodes`; inputs and outputs are (name, element type, shape)."""
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def tally() -> onnx.ModelProto:
    """x [batch, n] -> doubled [batch, n], and company [batch]: how many rows ran together."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["doubled"]),
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Expand", ["rows", "rows"], ["company"]),
    ]
    outputs = [("doubled", FLOAT, ["batch", "n"]), ("company", INT64, ["batch"])]
    return graph(nodes, [("x", FLOAT, ["batch", "n"])], outputs)


def lookup() -> onnx.ModelProto:
    """index [batch, 1] -> value [batch, 1] of a table of three: any other index makes the run fail."""
    nodes = [helper.make_node("Gather", ["table", "index"], ["value"])]
    table = np.array([10.0, 20.0, 30.0], np.float32)
    inputs, outputs = [("index", INT64, ["batch", 1])], [("value", FLOAT, ["batch", 1])]
    return graph(nodes, inputs, outputs, [("table", table)])


def scale_rows() -> onnx.ModelProto:
    """x [batch, 2] times its row's factor [batch] -> scaled [batch, 2]."""
    nodes = [
        helper.make_node("Unsqueeze", ["factor", "last"], ["column"]),
        helper.make_node("Mul", ["x", "column"], ["scaled"]),
    ]
    inputs = [("x", FLOAT, ["batch", 2]), ("factor", FLOAT, ["batch"])]
    return graph(nodes, inputs, [("scaled", FLOAT, ["batch", 2])], [("last", np.array([1]))])


def identity(element: int, shape) -> onnx.ModelProto:
    """x -> y, the same."""
    return graph([helper.make_node("Identity", ["x"], ["y"])], [("x", element, shape)], [("y", element, shape)])
