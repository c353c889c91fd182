"""What figures depend on, and nothing that names the machine."""

import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """Such as "AMD EPYC (avx512_bf16), 2 cores, 25 GB"."""
    info = Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"model name\s*: (.*)", info)
    units = ", ".join(name for name in ("avx512_bf16", "amx_bf16") if name in info)
    gigabytes = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    model = cpu[1] if cpu else platform.machine()
    return f"{model}{f' ({units})' if units else ''}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB"
