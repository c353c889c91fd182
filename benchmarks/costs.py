"""Where each millisecond of an edit goes: `python -m benchmarks.costs`, or `make profile`.

Edits of pictures never seen before, one client at a time, each served and then done again in this process over the
same files: the difference is what serving costs. Triton's own statistics say where. Then how the time grows with the
picture, the steps and the clients, and what a server costs before its first edit. Writes
benchmarks/results/costs.md and .json, and plots to build/costs/.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image
from recast import Client

from benchmarks.in_process import InProcess
from benchmarks.load.growth import memory
from benchmarks.quality.cases import REPOSITORY, RESULTS, cases
from export.demo import world
from export.demo.sentences import held_out
from serving.language.model import LanguageModel, chat_prompt
from serving.launcher.server import RunningServer, start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

STEPS = 20
PLOTS = Path("build/costs")
NETWORKS = ("segmenter", "text_encoder", "vae_encoder", "unet", "vae_decoder")
CALLERS = {"mask": NETWORKS[:1], "inpaint": NETWORKS[1:]}
SIZES = ((512, 384), (1024, 768), (2048, 1536), (4096, 3072))
COUNTS = (4, 8, 20, 50)
CLIENTS = (1, 2, 4, 8, 16)
Request = tuple[bytes, str, int]
"""A PNG file, a sentence, a seed."""


def requests(seed: int = world.HELD_OUT) -> Iterator[Request]:
    """Endless edits, no two of one picture."""
    while True:
        for case in cases(seed, 100):
            other = "boat" if case.thing.kind != "boat" else "tree"
            yield png(case.scene.image), f"Replace the {case.name} with a {other}", seed
            seed = case.seed + 1


def png(image: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    picture, file = Image.fromarray(image), io.BytesIO()
    (picture.resize(size, Image.Resampling.LANCZOS) if size else picture).save(file, "PNG")
    return file.getvalue()


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.int16)


def statistics_of(server: RunningServer) -> dict[str, dict[str, float]]:
    """Milliseconds since the start by model and part, as Triton counts them; "batches" is how often it ran."""
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/stats") as answer:
        models = json.load(answer)["model_stats"]
    return {
        model["name"]: {part: entry["ns"] / 1e6 for part, entry in model["inference_stats"].items()}
        | {"batches": model["execution_count"]}
        for model in models
    }


def breakdown(server: RunningServer, client: Client, chain: InProcess, source: Iterator[Request], count: int) -> dict:
    """Median seconds served and in process, and milliseconds an edit by step, with what serving adds in each."""
    served, alone = [], []
    before = statistics_of(server)
    chain.seconds.clear()
    for _ in range(count):
        image, prompt, seed = next(source)
        started = time.perf_counter()
        ours = client.replace(image, prompt, seed=seed, num_inference_steps=STEPS, max_attempts=1).png
        served.append(time.perf_counter() - started)
        started = time.perf_counter()
        again = chain.edit(image, prompt, seed, STEPS)
        alone.append(time.perf_counter() - started)
        # to the byte but for sums in another order: numpy has all cores here and one in the server
        assert np.abs(pixels(ours) - pixels(again)).max() <= 1, "served and in process differ"
    after = statistics_of(server)
    spent = {m: {part: (ms - before[m][part]) / count for part, ms in parts.items()} for m, parts in after.items()}
    wall, inside = 1e3 * statistics.mean(served), 1e3 * statistics.mean(alone)
    rows: dict[str, dict[str, float]] = {}
    for name in NETWORKS:
        arithmetic = 1e3 * chain.seconds[name] / count
        parts = spent[name]
        rows[name] = {
            "in all": parts["success"], "queue": parts["queue"], "in process": arithmetic,
            "copies": parts["compute_input"] + parts["compute_output"],
        }  # fmt: skip
    for name in ("parse", "mask", "inpaint"):
        own = spent[name]["success"] - sum(spent[network]["success"] for network in CALLERS.get(name, ()))
        rows[name] = {"in all": own, "queue": spent[name]["queue"], "in process": 0.0,
                      "copies": spent[name]["compute_input"] + spent[name]["compute_output"]}  # fmt: skip
    steps = sum(spent[name]["success"] for name in ("parse", "mask", "inpaint"))
    rows["ensemble"] = {"in all": spent["replace"]["success"] - steps, "queue": 0.0, "in process": 0.0, "copies": 0.0}
    rows["gRPC and client"] = {"in all": wall - spent["replace"]["success"], "queue": 0.0, "in process": 0.0,
                               "copies": 0.0}  # fmt: skip
    ratios = [a / b for a, b in zip(served, alone, strict=True)]
    return {
        "edits": count, "served ms": wall, "in process ms": inside, "overhead": statistics.median(ratios) - 1,
        "spread": quartiles(ratios, -1), "unet calls": spent["unet"]["batches"],
        "steps": {name: {part: round(ms, 2) for part, ms in row.items()} for name, row in rows.items()},
    }  # fmt: skip


def quartiles(values: list[float], plus: float = 0.0) -> list[float]:
    low, _, high = statistics.quantiles(values, n=4)
    return [low + plus, high + plus]


def with_size(client: Client, repeats: int) -> list[dict]:
    """The same object, a tenth of the picture, in pictures of several sizes: interleaved, never the same bytes."""
    scene, thing = tenth()
    seconds: dict[tuple[int, int], list[float]] = {size: [] for size in SIZES}
    for n in range(repeats):
        for size in SIZES:
            image = scene.image.copy()
            image[0, 0] = n  # another picture to every cache
            file = png(image, size)
            started = time.perf_counter()
            client.replace(file, f"Replace the {thing.kind} with a car", seed=1, num_inference_steps=STEPS)
            seconds[size].append(time.perf_counter() - started)
    first = seconds[SIZES[0]]
    return [
        {"size": f"{size[0]}x{size[1]}", "seconds": statistics.median(runs),
         "of the smallest": statistics.median(a / b for a, b in zip(runs, first, strict=True))}
        for size, runs in seconds.items()
    ]  # fmt: skip


def of_sentences(model: LanguageModel, batches: Sequence[int] = (1, 4, 16)) -> list[dict]:
    """What parse computes for a sentence, alone and in batches: milliseconds, calls of the model, tokens; those of the
    prompt that are shared are computed when the step loads."""
    said = [sentence for sentence, _ in held_out(5 * max(batches), world.HELD_OUT)]
    rows = []
    for count in batches:
        chosen = said[: 5 * count]
        prompts = model.encode([chat_prompt(model.tokenizer, sentence) for sentence in chosen])
        calls: list[int] = []
        counting = model.model.register_forward_hook(lambda *_: calls.append(1))  # noqa: B023
        started = time.perf_counter()
        answers = [answer for first in range(0, len(chosen), count) for answer in model.answer(chosen[first:][:count])]
        seconds = time.perf_counter() - started
        counting.remove()
        answered = model.encode([answer for answer, _ in answers])
        rows.append({
            "sentences in a batch": count, "ms a sentence": 1e3 * seconds / len(chosen),
            "calls a batch": len(calls) / 5,
            "tokens of the prompt": statistics.mean(map(len, prompts)), "of them shared": len(model.prefix),
            "tokens of the answer": statistics.mean(map(len, answered)),
        })  # fmt: skip
    return rows


def tenth() -> tuple[world.Scene, world.Thing]:
    """A held-out scene and a thing in it, alone of its kind, that covers about a tenth."""
    for seed in range(world.HELD_OUT, world.HELD_OUT + 1000):
        scene = world.draw(world.plan(seed), SIZES[0])
        for thing in scene.things:
            alone = sum(other.kind == thing.kind for other in scene.things) == 1
            if alone and thing.kind != "car" and 0.09 < (thing.mask > 127).mean() < 0.115:
                return scene, thing
    raise SystemExit("no held-out scene has a thing of a tenth of its area")


def with_steps(client: Client, source: Iterator[Request], repeats: int) -> list[dict]:
    seconds: dict[int, list[float]] = {steps: [] for steps in COUNTS}
    for _ in range(repeats):
        for steps in COUNTS:
            image, prompt, seed = next(source)
            started = time.perf_counter()
            client.replace(image, prompt, seed=seed, num_inference_steps=steps)
            seconds[steps].append(time.perf_counter() - started)
    return [{"steps": steps, "seconds": statistics.median(runs)} for steps, runs in seconds.items()]


def with_clients(url: str, source: Iterator[Request], edits: int) -> list[dict]:
    rows, lock = [], threading.Lock()
    for count in CLIENTS:
        work = [next(source) for _ in range(max(edits, 2 * count))]
        seconds: list[float] = []

        def ask(work: list[Request] = work, seconds: list[float] = seconds) -> None:
            with Client(url, timeout=300, retries=100) as client:
                while True:
                    with lock:
                        if not work:
                            return
                        image, prompt, seed = work.pop()
                    started = time.perf_counter()
                    client.replace(image, prompt, seed=seed, num_inference_steps=STEPS)
                    seconds.append(time.perf_counter() - started)

        threads = [threading.Thread(target=ask) for _ in range(count)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows.append({"clients": count, "edits a second": len(seconds) / (time.perf_counter() - started),
                     "seconds": statistics.median(seconds)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--edits", type=int, default=24)
    options = parser.parse_args()
    source = requests()
    started = time.perf_counter()
    with (
        start(ServerOptions(REPOSITORY, config=quickest_config())) as server,
        Client(server.grpc_url, timeout=300) as client,
    ):
        ready = time.perf_counter() - started
        image, prompt, seed = next(source)
        began = time.perf_counter()
        first = client.replace(image, prompt, seed=seed, num_inference_steps=STEPS)
        first_edit = time.perf_counter() - began
        chain = InProcess(REPOSITORY, quickest_config())
        chain.edit(image, prompt, seed, STEPS)
        report: dict[str, Any] = {
            "machine": {"cores": len(os.sched_getaffinity(0)), "steps": STEPS},
            "fixed": {"seconds from start to ready": ready, "seconds of the first edit": first_edit,
                      "bytes sent": len(image) + len(prompt), "bytes received": len(first.png) + len(first.mask_png)},
            "breakdown": breakdown(server, client, chain, source, options.edits),
            "sizes": with_size(client, max(3, options.edits // 4)),
            "step counts": with_steps(client, source, max(3, options.edits // 4)),
            "clients": with_clients(server.grpc_url, source, options.edits),
            "sentences": of_sentences(chain.language),
            "memory MB": memory(server.pid),
        }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "costs.json").write_text(json.dumps(rounded(report), indent=1) + "\n")
    (RESULTS / "costs.md").write_text(text(report))
    plot(report)
    print(text(report))


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def text(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    part, fixed = report["breakdown"], report["fixed"]
    (low, high), cores = part["spread"], report["machine"]["cores"]
    lines = [
        f"One client, {STEPS} steps with guidance, {cores} cores, {part['edits']} edits of pictures never seen before:",
        f"**{part['served ms']:.0f} ms** served, {part['in process ms']:.0f} ms in one process over the same files,",
        f"so serving costs **{part['overhead']:.1%}** (quartiles {low:.1%} to {high:.1%}).",
        "",
        "| ms an edit | in all | of it queue | copies | the same in process |",
        "|---|---|---|---|---|",
    ]
    for name, row in part["steps"].items():
        alone = f"{row['in process']:.1f}" if row["in process"] else ""
        lines.append(f"| {name} | {row['in all']:.1f} | {row['queue']:.1f} | {row['copies']:.1f} | {alone} |")
    lines += ["", f"The UNet ran {part['unet calls']:.0f} times an edit. Steps without their networks; \"ensemble\" "
              "and \"gRPC and client\" are what lies between the steps and around them.", ""]  # fmt: skip
    lines += [f"- {name}: {value:.1f}" if isinstance(value, float) else f"- {name}: {value:,}"
              for name, value in fixed.items()]  # fmt: skip
    lines += ["- memory (MB, instances of a model together): "
              + ", ".join(f"{name} {mb:.0f}" for name, mb in report["memory MB"].items()), ""]  # fmt: skip
    for name in ("sizes", "step counts", "clients", "sentences"):
        head = list(report[name][0])
        lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        lines += [
            "| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()) + " |"
            for row in report[name]
        ]
        lines.append("")
    return "\n".join(lines)


def plot(report: dict[str, Any]) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    PLOTS.mkdir(parents=True, exist_ok=True)
    axes_of: dict[str, Callable[[dict], float]] = {
        "sizes": lambda row: math.prod(int(side) for side in row["size"].split("x")) / 1e6,
        "step counts": lambda row: row["steps"],
        "clients": lambda row: row["clients"],
    }
    labels = {"sizes": "megapixels", "step counts": "steps", "clients": "clients"}
    for name, along in axes_of.items():
        figure, axes = pyplot.subplots(figsize=(6, 4))
        axes.plot([along(row) for row in report[name]], [row["seconds"] for row in report[name]], marker="o")
        axes.set_xlabel(labels[name])
        axes.set_ylabel("seconds an edit")
        axes.set_ylim(0)
        figure.savefig(PLOTS / f"{name.replace(' ', '-')}.png")


if __name__ == "__main__":
    main()
