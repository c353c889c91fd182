"""What a model's config.pbtxt says of its network, as Triton hands it over, checked once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

INTRA_OP, INTER_OP, ROWS = "intra_op_thread_count", "inter_op_thread_count", "rows_at_once"


class ConfigError(Exception):
    """The model cannot be served as its config says; the message names the difference."""


@dataclass(frozen=True)
class Port:
    """An input or output: `dtype` as Triton names it, `shape` with the batch axis, -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any], *, batched: bool) -> "Port":
        """The one that an entry of a config's inputs or outputs describes."""
        # Triton applies `reshape` before a backend sees the tensor, and undoes it on the way out.
        dims = entry["reshape"]["shape"] if "reshape" in entry else entry["dims"]
        shape = ((-1,) if batched else ()) + tuple(map(int, dims))
        return cls(entry["name"], entry["data_type"], shape, bool(entry.get("optional")))

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether no fixed size differs."""
        return len(shape) == len(self.shape) and all(
            size == own or -1 in (size, own) for size, own in zip(shape, self.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype.removeprefix('TYPE_')} {list(self.shape)}"


@dataclass(frozen=True)
class Settings:
    """How a network is computed: on the CPU, or on the GPU of the number `gpu`.

    `intra_op_threads` share each operator, the cores of this process where the config says nothing; `inter_op_threads`
    run operators beside each other, as many as ONNX Runtime likes for None. `rows_at_once` of a batch are computed
    together, as diffusers slices a VAE's: the memory of the largest batch that ever came is never given back, and
    pictures gain nothing from a batch; None for all. `openvino` are that runtime's properties; None for ONNX Runtime.
    """

    gpu: int | None
    intra_op_threads: int
    inter_op_threads: int | None = None
    rows_at_once: int | None = None
    openvino: Mapping[str, str] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], gpu: int | None) -> "Settings":
        """Those of a config's `parameters` and `execution_accelerators`; ConfigError for what is not known."""
        given = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        known = (INTRA_OP, INTER_OP, ROWS)
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ConfigError(f"unknown parameters {', '.join(unknown)}; known: {', '.join(known)}")
        counts = {name: _count(name, given.get(name, "0")) for name in known}
        cores = len(os.sched_getaffinity(0))
        return cls(gpu, counts[INTRA_OP] or cores, counts[INTER_OP], counts[ROWS], _openvino(config, gpu))


def _count(name: str, value: str) -> int | None:
    """None for 0, which stands for the default as in Triton's own backend."""
    if not value.isdecimal():
        raise ConfigError(f"parameter {name} is '{value}'; it must be a whole number, 0 for the default")
    return int(value) or None


def _openvino(config: Mapping[str, Any], gpu: int | None) -> Mapping[str, str] | None:
    place = "cpu" if gpu is None else "gpu"
    chosen = config.get("optimization", {}).get("execution_accelerators", {}).get(f"{place}_execution_accelerator", [])
    for accelerator in chosen:
        if accelerator["name"] != "openvino" or gpu is not None:
            raise ConfigError(f"no execution accelerator '{accelerator['name']}'; only openvino, on CPUs")
        return accelerator.get("parameters", {})
    return None


def triton_name(dtype: np.dtype) -> str:
    """Of an element type, such as TYPE_FP32."""
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    bits = dtype.itemsize * 8
    return "TYPE_BOOL" if dtype.kind == "b" else f"TYPE_{kinds.get(dtype.kind, dtype.kind)}{bits}"
