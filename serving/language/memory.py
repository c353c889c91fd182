"""Whether a language model fits: the bytes that it takes, and the bytes that are free."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

BYTES_PER_WEIGHT = {"nf4": 0.5 + 4 / 64, "nf4_double": 0.5 + 2 / 64}
"""4 bits, and an absolute maximum for each 64 weights: in float32, or in a byte, which kernels on CPUs widen to two."""

WORKING_BYTES_PER_WEIGHT = 16
"""Taken for a moment by each weight of a matrix while bitsandbytes quantises it on a CPU (bf16 in, float32 between).

The largest matrix's share is also more than a full batch's keys, values and activations take later.
"""


def bytes_needed(config: Any, dtype: torch.dtype, quantisation: str | None) -> int:
    """The memory that loading and serving the causal language model of a transformers `config` takes at its peak.

    transformers quantises the linear layers except the output's; all other weights are held in `dtype`.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    output = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not output]
    sizes = [layer.weight.numel() for layer in linear]
    others = sum(parameter.numel() for parameter in model.parameters()) - sum(sizes)
    bytes_per_weight = BYTES_PER_WEIGHT[quantisation] if quantisation else dtype.itemsize
    return round(
        sum(sizes) * bytes_per_weight + others * dtype.itemsize + max(sizes, default=0) * WORKING_BYTES_PER_WEIGHT
    )


def placement(needed: int, device: str, limit: float = math.inf) -> dict[str, Any]:
    """The arguments of `from_pretrained` that put a model of `needed` bytes on `device`, "cpu" or "cuda:N".

    A model too large for the one GPU is spread over all of them. No part goes to the CPU, where bitsandbytes would
    leave it unquantised. MemoryError when it needs more than is free, or more than `limit` bytes.
    """
    free = min(free_bytes(device), limit)
    if needed <= free:
        return {"device_map": {"": device}}
    if device != "cpu":
        each = {gpu: free_bytes(f"cuda:{gpu}") for gpu in range(torch.cuda.device_count())}
        free = min(sum(each.values()), limit)
        if needed <= free:
            return {"device_map": "auto", "max_memory": each}
    memory = "memory" if device == "cpu" else "GPU memory"
    there = f"{free / 1e9:.1f} GB are free" if free < limit else f"memory_limit_gb allows {limit / 1e9:.1f} GB"
    raise MemoryError(
        f"parse needs about {needed / 1e9:.1f} GB of {memory} and {there}:"
        " serve a smaller parse preset, or take a machine with more memory"
    )


def free_bytes(device: str) -> int:
    """What can still be allocated on "cpu" or "cuda:N"."""
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    machine = int(meminfo["MemAvailable"].split()[0]) * 1024
    return min(machine, *_free_in_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text()))


def _free_in_groups(root: Path, membership: str) -> Iterator[int]:
    """What each limited control group of this process leaves; `membership` is the text of /proc/self/cgroup.

    Cached files count as free: the kernel drops them when memory is asked for.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit_name, usage_name, prefix = root, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            base, limit_name, usage_name = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            prefix = "total_"
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):  # in a container the own group is often mounted as `base` itself
            limit = folder / limit_name
            if not folder.is_relative_to(base) or not limit.exists() or limit.read_text().strip() == "max":
                continue
            stat = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
            cached = sum(int(stat[f"{prefix}{state}_file"]) for state in ("active", "inactive"))
            yield int(limit.read_text()) - int((folder / usage_name).read_text()) + cached
