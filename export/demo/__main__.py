"""`make demo`: a real server, one gRPC call, and a picture before and after."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from export.demo import world
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

SCENE = 1_000_003
"""A held-out scene with a car in it: training never saw it."""
PROMPT = "Replace the car with a bicycle"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m export.demo", description=__doc__)
    parser.add_argument("--scene", type=int, default=SCENE, help="seed of the scene to edit (default: %(default)s)")
    parser.add_argument("--prompt", default=PROMPT, help='what to do (default: "%(default)s")')
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder for the pictures")
    options = parser.parse_args()
    scene = world.scene(options.scene, (512, 384))
    options.out.mkdir(parents=True, exist_ok=True)
    before = options.out / "before.png"
    Image.fromarray(scene.image).save(before)
    print("Starting the server ...", flush=True)
    started = time.monotonic()
    with start(ServerOptions(Path("model_repository"), config=quickest_config())) as server:
        print(f"Ready after {time.monotonic() - started:.0f} s. Asking: {options.prompt}\n", flush=True)
        command = [
            sys.executable,
            "-m",
            "recast",
            "edit",
            str(before),
            options.prompt,
            "-o",
            str(options.out / "after.png"),
            "--mask-out",
            str(options.out / "mask.png"),
            "--strip",
            str(options.out / "strip.png"),
            "--seed",
            "1",
            "--url",
            server.grpc_url,
        ]
        code = subprocess.run(command, check=False).returncode
    if code == 0:
        print(f"\nLook at {options.out / 'strip.png'}: before, mask and after, side by side.")
    return code


if __name__ == "__main__":
    sys.exit(main())
