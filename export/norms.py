"""Group normalisation in ONNX graphs, a row a channel."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir


def flatten(model: ir.Model) -> int:
    """Scale, shift and SiLU after each normalisation on [batch, channels, pixels]; returns how many there were.

    OpenVINO works through an operator that broadcasts [channels, 1, 1] over [channels, height, width] a row of pixels
    at a time, and those of latents do not fill a vector: a quarter of the demo UNet's time. The numbers stay the same.
    """
    norms = (_Norm.of(node) for node in model.graph if node.op_type == "InstanceNormalization")
    found = [norm for norm in norms if norm is not None]
    for norm in found:
        norm.flatten(model.graph)
    return len(found)


@dataclass
class _Norm:
    """What follows an InstanceNormalization over groups: `restore` gives [batch, channels, height, width] again."""

    restore: ir.Node
    scale: ir.Node
    shift: ir.Node

    @classmethod
    def of(cls, node: ir.Node) -> "_Norm | None":
        """The chain behind `node`, None where something else follows."""
        chain = [node]
        for operator in ("Reshape", "Mul", "Add"):
            following = _user(chain[-1], operator)
            if following is None:
                return None
            chain.append(following)
        return cls(*chain[1:])

    def flatten(self, graph: ir.Graph) -> None:
        last = self._activation() or self.shift
        whole = self.restore.inputs[1]
        channels = 0
        for node in (self.scale, self.shift):
            place, values = _constant_of(node)
            channels = values.size
            node.replace_input_with(place, _initializer(graph, f"{node.name}_column", values.reshape(channels, 1)))
        rows = np.array([0, channels, -1], np.int64)
        self.restore.replace_input_with(1, _initializer(graph, f"{self.restore.name}_rows", rows))
        flat = last.outputs[0]
        back = ir.node("Reshape", [flat, whole], name=f"{last.name}_back")
        flat.name, back.outputs[0].name = f"{flat.name}_rows", flat.name
        for value in (self.restore.outputs[0], self.scale.outputs[0], self.shift.outputs[0], flat):
            value.shape = None
        ir.convenience.replace_all_uses_with(flat, back.outputs[0])
        back.replace_input_with(0, flat)
        graph.insert_after(last, back)

    def _activation(self) -> ir.Node | None:
        """The last operator of a SiLU, x · sigmoid(x), where that is what follows."""
        sigmoid = _user(self.shift, "Sigmoid")
        return None if sigmoid is None else _user(sigmoid, "Mul")


def _user(node: ir.Node, operator: str) -> ir.Node | None:
    """The one node of the type `operator` that takes the output of `node`."""
    return next((user for user in node.outputs[0].consumers() if user.op_type == operator), None)


def _constant_of(node: ir.Node) -> tuple[int, np.ndarray]:
    """The place and the values of the constant among the two inputs of `node`."""
    for place, value in enumerate(node.inputs):
        assert value is not None
        producer = value.producer()
        if producer is not None and producer.op_type == "CastLike":
            value = producer.inputs[0]
            assert value is not None
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None:
            return place, tensor.numpy()
    raise ValueError(f"{node.name} has no constant input")


def _initializer(graph: ir.Graph, name: str, values: np.ndarray) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(values, name=name))
    value.dtype, value.shape = ir.DataType.from_numpy(values.dtype), ir.Shape(values.shape)
    graph.register_initializer(value)
    return value
