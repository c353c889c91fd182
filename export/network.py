"""A network to export: its module, and once and for all its tensors' names, axes and tolerance."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

Axes = tuple[str | int, ...]
"""A tensor's axes: a number is that size in every checkpoint, a name is -1 in config.pbtxt."""
Draw = Callable[[tuple[int, ...], torch.Generator], torch.Tensor]
Loaders = Mapping[str, Callable[[Path], "Network"]]
"""The networks of a step by name, each read from a checkpoint folder."""

MAX_BATCH = 63
"""The exporter's own guard on a batch axis of convolutions."""
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
"""By precision. There is no bf16: ONNX's convolutions learnt it after the opset that Triton 24.10 reads. OpenVINO
computes in bf16 from the fp32 file."""
MAX_UNITS = 512
"""Largest spatial size, in units of the axis's multiple."""


def _halve_inputs(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Float inputs in float16, but for timesteps: their embedding is computed in float32."""
    return args, {
        name: value.half() if value.is_floating_point() and name != "timestep" else value
        for name, value in kwargs.items()
    }


def normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


def integers(low: int, high: int, dtype: torch.dtype = torch.int64) -> Draw:
    """Draws whole numbers from `low` to `high` - 1."""
    return lambda shape, generator: torch.randint(low, high, shape, generator=generator, dtype=dtype)


@dataclass(frozen=True)
class Network:
    """`module` takes `inputs` by name and returns the one tensor of `outputs`.

    `sizes` gives every named axis of the inputs a size: the first entry is the exporter's example (batch at least 2),
    and at each the exported network must agree with the module within `tolerance`.
    Axes in `multiples` are dynamic in whole multiples of that number; those in `constant` are symbolic in the file,
    because config.pbtxt serves checkpoints of any size, but this checkpoint allows one size only. `overflows` says that
    the module's values do not fit float16.
    """

    name: str
    module: torch.nn.Module
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    sizes: tuple[Mapping[str, int], ...]
    multiples: Mapping[str, int] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
    draws: Mapping[str, Draw] = field(default_factory=dict)
    overflows: bool = False
    precision: str = "fp32"

    @property
    def tolerance(self) -> float:
        """The largest error allowed, of the largest output of the module in float32."""
        return TOLERANCES[self.precision]

    def lowered(self, precision: str) -> "Network":
        """This network with its module converted to `precision` in place, its inputs and output still float32.

        One that `overflows` in fp16 is left as it is.
        """
        if precision == "fp32" or self.overflows:
            return self
        self.module.half()
        self.module.register_forward_pre_hook(_halve_inputs, with_kwargs=True)
        self.module.register_forward_hook(lambda module, inputs, output: output.float())
        return replace(self, precision=precision)

    def example(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, torch.Tensor]:
        """Seeded inputs with the named axes at `sizes`."""
        generator = torch.Generator().manual_seed(seed)
        inputs = {}
        for name, axes in self.inputs.items():
            shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in axes)
            inputs[name] = self.draws.get(name, normal)(shape, generator)
        return inputs

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """What torch.export calls dynamic_shapes: one Dim for each dynamic axis, shared between the inputs."""
        dims = {name: self._dim(name) for name in self.sizes[0] if name not in self.constant}
        return {
            tensor: {place: dims[axis] for place, axis in enumerate(axes) if axis in dims}
            for tensor, axes in self.inputs.items()
        }

    def constant_axes(self) -> Iterator[tuple[str, int, str]]:
        """(tensor, place, axis) of the axes that are symbolic in the file alone."""
        for tensor, axes in {**self.inputs, **self.outputs}.items():
            for place, axis in enumerate(axes):
                if axis in self.constant:
                    yield tensor, place, str(axis)

    def _dim(self, axis: str) -> Any:
        if axis == "batch":
            return Dim("batch", max=MAX_BATCH)
        multiple = self.multiples[axis]
        dim = Dim(axis if multiple == 1 else f"{axis}_over_{multiple}", min=2, max=MAX_UNITS)
        return dim if multiple == 1 else multiple * dim
