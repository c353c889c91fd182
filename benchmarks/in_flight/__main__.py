"""Two native ways to batch denoising steps in flight, side by side on one server: `python -m benchmarks.in_flight`.

"bls": a loop in each of several light instances calls `unet` by BLS, whose dynamic batcher merges the steps of all.
"iterative": one model holds the loops and the UNet, and Triton's iterative sequences reschedule it after every step.
The same latents, the same steps; the loops alone, without pictures. Prints a table and writes
benchmarks/results/in_flight.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import shutil
import statistics
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from benchmarks.in_process import triton_config
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions

HERE, WORK = Path(__file__).parent, Path("build/in_flight")
RESULTS = Path("benchmarks/results/in_flight.json")
PORTS = """
backend: "python"
input [ { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] }, { name: "steps" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "latents" data_type: TYPE_FP32 dims: [ 4, -1, -1 ] } ]
"""
CONFIGS = {
    "bls": PORTS + "max_batch_size: 1\ninstance_group [ { kind: KIND_CPU count: 16 } ]\n",
    "iterative": PORTS
    + """max_batch_size: 16
instance_group [ { kind: KIND_CPU count: 1 } ]
model_transaction_policy { decoupled: true }
sequence_batching { iterative_sequence: true oldest { max_candidate_sequences: 16 } }
""",
}
STEPS = {"20 steps": (20,), "8, 20 and 50 steps": (8, 20, 50)}


def write_repository() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    for model in ("unet", "inpaint"):
        shutil.copytree(Path("model_repository") / model, WORK / model)
    (WORK / "unet.json").write_text(json.dumps(triton_config(WORK / "unet" / "config.pbtxt")))
    for name, config_text in CONFIGS.items():
        (WORK / name / "1").mkdir(parents=True)
        (WORK / name / "config.pbtxt").write_text(config_text)
        shutil.copy(HERE / f"{name}.py", WORK / name / "1" / "model.py")


class Caller:
    """Asks one model for loops over one stream, one after the other."""

    def __init__(self, url: str, model: str):
        self.client, self.model = triton.InferenceServerClient(url), model
        self.answers: queue.Queue = queue.Queue()
        self.client.start_stream(lambda result, error: self.answers.put((result, error)))

    def ask(self, seed: int, steps: int) -> np.ndarray:
        inputs = [triton.InferInput("seed", [1, 1], "INT64"), triton.InferInput("steps", [1, 1], "INT32")]
        inputs[0].set_data_from_numpy(np.array([[seed]], np.int64))
        inputs[1].set_data_from_numpy(np.array([[steps]], np.int32))
        self.client.async_stream_infer(self.model, inputs)
        result, error = self.answers.get(timeout=60)
        if error:
            raise error
        return result.as_numpy("latents")

    def close(self) -> None:
        self.client.stop_stream()
        self.client.close()


def measure(url: str, model: str, clients: int, mix: tuple[int, ...], loops: int) -> tuple[float, float]:
    """Loops a second, and the median seconds of one with the fewest steps, of `loops` loops by `clients` callers."""
    callers = [Caller(url, model) for _ in range(clients)]
    left, short, lock = iter(range(loops)), [], threading.Lock()

    def work(caller: Caller) -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            steps, started = mix[number % len(mix)], time.perf_counter()
            caller.ask(number, steps)
            if steps == min(mix):
                short.append(time.perf_counter() - started)

    threads = [threading.Thread(target=partial(work, caller)) for caller in callers]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = loops / (time.perf_counter() - started)
    for caller in callers:
        caller.close()
    return rate, statistics.median(short)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_flight", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loops", type=int, default=64, help="for each figure (default: %(default)s)")
    options = parser.parse_args()
    write_repository()
    rows = []
    with start(ServerOptions(WORK, ready_model="iterative")) as server:
        for model in CONFIGS:
            measure(server.grpc_url, model, 2, (2,), 8)
        same = [Caller(server.grpc_url, model).ask(5, 4) for model in CONFIGS]
        assert np.array_equal(same[0], same[1]), "the two ways give different latents"
        for (name, mix), clients in itertools.product(STEPS.items(), (1, 4, 16)):
            loops = options.loops if clients > 1 else options.loops // 4
            figures: dict[str, list] = {model: [] for model in CONFIGS}
            for repeat in range(options.repeats):
                for model in sorted(CONFIGS, reverse=bool(repeat % 2)):
                    figures[model].append(measure(server.grpc_url, model, clients, mix, loops))
            ratios = [a[0] / b[0] for a, b in zip(figures["iterative"], figures["bls"], strict=True)]
            rows.append({
                "steps": name, "clients": clients,
                **{f"{model} loops/s": statistics.median(rate for rate, _ in runs) for model, runs in figures.items()},
                **{f"{model} s, shortest": statistics.median(s for _, s in runs) for model, runs in figures.items()},
                "iterative/bls": statistics.median(ratios), "spread": [min(ratios), max(ratios)],
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
