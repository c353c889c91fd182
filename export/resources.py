"""Whether the machine has room for an export, asked before it starts."""

import math
import shutil
from pathlib import Path

from export.checkpoint import WEIGHTS
from export.errors import ExportError
from export.weights import readable, shapes
from serving.language.memory import free_bytes

BYTES = {"fp32": 4, "fp16": 2}
COPIES = 2.2
"""Of a network's weights in float32, at the peak: torch's own, ONNX Runtime's for the comparison, and what each
of them lays out anew. Measured on Stable Diffusion 1.5's UNet, see benchmarks/results/fullsize-pictures.md."""
BASE = 1.2e9
"""What torch and the exporter take by themselves."""


def weights(folder: Path) -> dict[str, int]:
    """The number of weights in each folder of a checkpoint, read from the headers of its safetensors files."""
    counts: dict[str, int] = {}
    for file in readable(folder):
        if file.match(WEIGHTS):
            count = sum(map(math.prod, shapes(file).values()))
            counts[file.parent.name] = counts.get(file.parent.name, 0) + count
    return counts


def check(checkpoint: Path, destination: Path, precision: str) -> None:
    """Raise ExportError when the networks of `checkpoint` cannot be made: too little disk or memory."""
    counts = weights(checkpoint)
    disk, memory = sum(counts.values()) * BYTES[precision], max(counts.values(), default=0) * 4 * COPIES + BASE
    free_disk, free_memory = shutil.disk_usage(destination).free, free_bytes("cpu")
    if disk > free_disk:
        raise ExportError(
            f"the release takes about {disk / 1e9:.1f} GB and {destination} has {free_disk / 1e9:.1f} GB free:"
            " make room, or name another place with --repository"
        )
    if memory > free_memory:
        raise ExportError(
            f"the export takes about {memory / 1e9:.1f} GB of memory and {free_memory / 1e9:.1f} GB are free:"
            " end what else runs, or take a larger machine; the release can be copied"
        )
