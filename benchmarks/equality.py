"""Does it matter who shares the batch? `python -m benchmarks.equality`: a thousand edits under full load.

A hundred edits of mixed sizes, intents, steps, guidance and numbers of variants are each made alone first. Then
sixteen clients ask for a thousand of them at once, in random order, and every picture must be the same to the byte.
Exit status 1 when an edit differs or fails.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from recast import Client

from benchmarks.quality.cases import REPOSITORY, cases
from export.demo import world
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

SIZES, STEPS, GUIDANCE, VARIANTS = (256, 512, 1024), (1, 4, 8, 20, 50), (1.0, 4.0, 7.5), (1, 1, 1, 3)
STRENGTHS = (None, None, 0.5)


def mixed(count: int, seed: int = world.HELD_OUT) -> Iterator[dict[str, Any]]:
    """Arguments of Client.replace."""
    for case in cases(seed, count):
        rng = random.Random(case.seed)
        other = rng.choice([kind for kind in world.KINDS if kind != case.thing.kind])
        picture = Image.fromarray(case.scene.image)
        scale = rng.choice(SIZES) / max(picture.size)
        steps = rng.choice(STEPS)
        yield {
            "image": picture.resize((round(picture.width * scale), round(picture.height * scale))),
            "prompt": rng.choice([f"Replace the {case.name} with a {other}", f"Remove the {case.name}",
                                  f"Make the {case.name} {rng.choice(world.COLOURS)}"]),
            "seed": rng.randrange(2**32),
            "num_inference_steps": steps,
            "guidance_scale": rng.choice(GUIDANCE),
            "num_images": rng.choice(VARIANTS),
            "strength": rng.choice(STRENGTHS) if steps > 1 else None,
        }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equality", description=__doc__)
    parser.add_argument("--distinct", type=int, default=100)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    requests = list(mixed(options.distinct))
    with (
        start(ServerOptions(REPOSITORY, config=quickest_config())) as server,
        Client(server.grpc_url, timeout=600, retries=100) as client,
    ):

        def answer(number: int) -> tuple[bytes, ...]:
            try:
                return client.replace(**requests[number]).pngs
            except Exception as error:  # a refusal must be the same refusal
                return (str(error).encode(),)

        alone = [answer(number) for number in range(len(requests))]
        order = random.Random(0).choices(range(len(requests)), k=options.edits)
        started = time.perf_counter()
        with ThreadPoolExecutor(options.clients) as pool:
            together = list(pool.map(answer, order))
        seconds = time.perf_counter() - started
    different = sorted({n for n, pngs in zip(order, together, strict=True) if pngs != alone[n]})
    refused = sum(not pngs[0].startswith(b"\x89PNG") for pngs in alone)
    print(
        f"{options.edits} edits by {options.clients} clients in {seconds:.0f} s: {len(different)} of the"
        f" {options.distinct} differ from the same edit alone ({refused} are refusals)"
    )
    for n in different:
        print({name: value for name, value in requests[n].items() if name != "image"})
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
