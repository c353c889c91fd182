"""What figures depend on, and nothing that names the machine."""

import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """Such as "AMD EPYC, 2 cores, 25 GB"."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    gigabytes = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return f"{cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GB"
