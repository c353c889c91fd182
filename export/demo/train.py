"""Train the demo's picture networks in order, each on what the one before it gave: `python -m export.demo.train`.

An interrupted run goes on where it was when the same command is given again; `make clean` forgets it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from export.demo import pools
from export.demo.training import WORK
from export.presets import DEMO_WEIGHTS


@dataclass(frozen=True)
class Stage:
    """One script, the folder that it writes, and its minutes and rows a step on a CPU of two cores and on a GPU."""

    script: str
    folder: str
    minutes: tuple[float, float]
    batch: tuple[int, int]
    more: tuple[str, ...] = ()


STAGES = (
    Stage("train_vae", "inpaint", (180, 2.5), (8, 64)),
    Stage("train_unet", "inpaint", (120, 1.2), (32, 256), ("--side", "128")),
    Stage("train_unet", "inpaint", (90, 2.0), (32, 256), ("--side", "192", "--continue")),
    Stage("distil_unet", "inpaint_lcm", (60, 1.0), (32, 128), ("--teacher", "{out}/inpaint")),
    Stage("judge", "judge", (12, 0.5), (48, 256)),
)
"""Drawing and encoding the crops comes on top: export/README.md says how long."""


def command(stage: Stage, options: argparse.Namespace) -> list[str]:
    on_gpu = options.device.startswith("cuda")
    return [
        *(sys.executable, "-m", f"export.demo.{stage.script}"),
        *("--out", str(options.out / stage.folder)),
        *("--minutes", str(stage.minutes[on_gpu] * options.time)),
        *("--batch", str(stage.batch[on_gpu])),
        *("--crops", str(options.crops), "--work", str(options.work), "--device", options.device),
        *(word.format(out=options.out) for word in stage.more),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m export.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEMO_WEIGHTS, help="folder of the weights (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, help="pools and resumable state (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--crops", type=int, default=pools.COUNT, help="crops to train on (default: %(default)s)")
    parser.add_argument("--time", type=float, default=1.0, help="share of each stage's minutes (default: %(default)s)")
    options = parser.parse_args()
    for stage in STAGES:
        started = time.monotonic()
        order = command(stage, options)
        print("==", *order[2:], flush=True)
        code = subprocess.run(order, check=False).returncode
        if code:
            return code
        print(f"== {stage.script}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
