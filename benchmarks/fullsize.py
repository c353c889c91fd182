"""Stable Diffusion 1.5 and CLIPSeg at their true size, with random weights: export, memory, speed, parity.

    python -m benchmarks.fullsize

Writes skeleton checkpoints into build/fullsize/ (unless they are there), exports and serves them, edits a picture
of 1024 x 683 pixels through `recast edit` in 4 steps, then times each network beside diffusers on the same folder.
The table goes to benchmarks/results/fullsize.md, the same as JSON beside it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from export import skeleton
from export.demo import world
from serving.launcher import Server
from serving.network import open_session, openvino_devices

WORK = Path("build/fullsize")
RESULTS = Path("benchmarks/results")
CHECKPOINTS = {"mask": "clipseg-rd64-refined", "inpaint": "sd15-inpainting"}
SIZE, STEPS, REPEATS = (1024, 683), 4, 3
SEED = 1000003


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    for step, preset in CHECKPOINTS.items():
        if not (WORK / step).exists():
            print(f"writing {preset} with random weights ...", flush=True)
            skeleton.write(preset, WORK / step)
    report: dict[str, Any] = {"machine": machine(), "export": {}}
    repository = fresh_repository()
    for step, preset in CHECKPOINTS.items():
        report["export"][preset] = export(preset, step, repository)
    report["parity"] = parity(repository)
    config = "openvino" if openvino_devices() else None
    report["served with"] = config or "ONNX Runtime's CPU provider"
    report["edit"] = edit(repository, config)
    report["networks"] = timings(repository, config)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fullsize.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "fullsize.md").write_text(text(report))
    print(text(report))


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    flags = Path("/proc/cpuinfo").read_text()
    units = ", ".join(name for name in ("avx512_bf16", "amx_bf16") if name in flags)
    gigabytes = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return f"{model[1] if model else 'CPU'} ({units}), {os.cpu_count()} cores, {gigabytes:.0f} GB"


def fresh_repository() -> Path:
    """A model repository with the demo's parse and room for the rest."""
    repository = WORK / "model_repository"
    shutil.rmtree(repository, ignore_errors=True)
    ignored = shutil.ignore_patterns("[0-9]*", ".[0-9]*")
    shutil.copytree("model_repository", repository, ignore=ignored)
    run_export("--preset", "demo", "--only", "parse", "--repository", str(repository))
    return repository


def run_export(*words: str) -> tuple[str, float, float]:
    """The output, the seconds and the peak memory in GB of `python -m export`."""
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "export", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the export failed: {output}")
    return output, time.monotonic() - started, usage.ru_maxrss / 1e6


def export(preset: str, step: str, repository: Path) -> dict[str, Any]:
    print(f"exporting {preset} ...", flush=True)
    words = ["--preset", preset, "--checkpoint", str(WORK / step), "--repository", str(repository)]
    if step == "mask":  # random weights find nothing with confidence
        words += ["--set", "threshold=0.001"]
    output, seconds, memory = run_export(*words)
    print(output, flush=True)
    return {"seconds": round(seconds), "peak GB": round(memory, 1)}


def parity(repository: Path) -> dict[str, float]:
    """The largest error of each network in ONNX Runtime, of torch's largest output, both in float32."""
    releases = [json.loads((repository / step / "1" / "release.json").read_text()) for step in CHECKPOINTS]
    return {name: network["error"] for release in releases for name, network in release["networks"].items()}


def edit(repository: Path, config: str | None) -> dict[str, Any]:
    """One edit through the command line, twice: the second call is warm. Seconds, milliseconds by step, memory."""
    scene = world.draw(world.plan(SEED), SIZE)
    picture = WORK / "photograph.png"
    Image.fromarray(scene.image).resize(SIZE).save(picture)
    sentence = f"Replace the {scene.things[0].kind} with a bicycle"
    with Server(repository, config=config, ready_timeout=900) as server:
        recast = str(Path(sys.executable).parent / "recast")
        command = [recast, "edit", str(picture), sentence, "--steps", str(STEPS), "--seed", "1", "--json",
                   "--timeout", "900", "--url", server.grpc_url, "--out", str(WORK / "edited.png")]  # fmt: skip
        seconds = []
        for _ in range(2):
            started = time.monotonic()
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds.append(round(time.monotonic() - started, 1))
        return {
            "sentence": sentence,
            "first, seconds": seconds[0],
            "warm, seconds": seconds[1],
            "report": json.loads(done.stdout)["report"],
            "peak GB": memory_of(server.pid),
        }


def memory_of(parent: int) -> dict[str, float]:
    """The peak memory of tritonserver and of each of its models' processes."""
    peaks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if int(folder.name) == parent or int(status["PPid"]) == parent:
            models = [word.decode() for word in command if b"model_repository/" in word or b"/backends/" in word]
            name = "tritonserver" if int(folder.name) == parent else f"{Path(models[0]).parts[-3:]} {folder.name}"
            peaks[name] = round(int(status["VmHWM"].split()[0]) / 1e6, 2)
    return peaks


def timings(repository: Path, config: str | None) -> list[dict[str, Any]]:
    """Seconds a call of each network: ours as served, beside diffusers in float32 and in bfloat16, interleaved."""
    torch.set_num_threads(os.cpu_count() or 1)
    rng = np.random.default_rng(0)
    rows = []
    for batch in (1, 2):
        inputs = {
            "sample": rng.standard_normal((batch, 9, 64, 64), np.float32),
            "timestep": np.full(batch, 500, np.float32),
            "encoder_hidden_states": rng.standard_normal((batch, 77, 768), np.float32),
        }
        rows.append(compare("unet", f"UNet step, batch {batch}", repository, config, inputs, UNet2DConditionModel))
    picture = {"sample": rng.uniform(-1, 1, (1, 3, 512, 512)).astype(np.float32)}
    rows.append(compare("vae_encoder", "VAE encode, 512 x 512", repository, config, picture, AutoencoderKL))
    latents = {"latent_sample": rng.standard_normal((1, 4, 64, 64), np.float32)}
    rows.append(compare("vae_decoder", "VAE decode, 512 x 512", repository, config, latents, AutoencoderKL))
    return rows


def compare(
    network: str, title: str, repository: Path, config: str | None, inputs: dict[str, np.ndarray], kind: Any
) -> dict[str, Any]:
    print(f"timing {title} ...", flush=True)
    calls: dict[str, Callable[[], Any]] = {"recast": ours(repository, network, config, inputs)}
    for name, dtype in (("diffusers fp32", torch.float32), ("diffusers bf16", torch.bfloat16)):
        calls[name] = theirs(network, kind, dtype, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(REPEATS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    return {
        "network": title,
        "seconds": {name: [round(value, 3) for value in sorted(v)] for name, v in seconds.items()},
    }


def ours(repository: Path, network: str, config: str | None, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    parameters = {"intra_op_thread_count": {"string_value": str(os.cpu_count())}}
    settings: dict[str, Any] = {"parameters": parameters}
    if config == "openvino":
        chosen = {"name": "openvino", "parameters": {"INFERENCE_PRECISION_HINT": "bf16"}}
        settings["optimization"] = {"execution_accelerators": {"cpu_execution_accelerator": [chosen]}}
    session = open_session(repository / network / "1" / "model.onnx", settings, None)
    return lambda: session.run(None, inputs)


def theirs(network: str, kind: Any, dtype: torch.dtype, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    folder = WORK / "inpaint" / ("unet" if network == "unet" else "vae")
    model = kind.from_pretrained(folder, torch_dtype=dtype).eval()
    tensors = [torch.from_numpy(value).to(dtype) for value in inputs.values()]
    run = {
        "unet": lambda: model(*tensors),
        "vae_encoder": lambda: model.encode(*tensors),
        "vae_decoder": lambda: model.decode(*tensors),
    }[network]
    return torch.inference_mode()(run)


def text(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    edit, milliseconds = report["edit"], report["edit"]["report"]["milliseconds"]
    lines = [
        f"Stable Diffusion 1.5 inpainting and CLIPSeg at full size, random weights. {report['machine']}. "
        f"Served with {report['served with']}, {SIZE[0]} x {SIZE[1]}, {STEPS} steps.",
        "",
        "| export | seconds | peak GB |",
        "|---|---|---|",
        *(f"| {name} | {row['seconds']} | {row['peak GB']} |" for name, row in report["export"].items()),
        "",
        "| network | torch against ONNX Runtime, largest error of largest output |",
        "|---|---|",
        *(f"| {name} | {error:.1e} |" for name, error in report["parity"].items()),
        "",
        f"`recast edit`: {edit['first, seconds']} s the first time, {edit['warm, seconds']} s warm; "
        + ", ".join(f"{name} {value / 1000:.1f} s" for name, value in milliseconds.items()),
        "",
        "| process | peak GB |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in edit["peak GB"].items()),
        "",
        "| seconds a call: median (least … most) | Recast | diffusers fp32 | diffusers bf16 |",
        "|---|---|---|---|",
    ]
    for row in report["networks"]:
        cells = [f"{statistics.median(v):.2f} ({v[0]:.2f} … {v[-1]:.2f})" for v in row["seconds"].values()]
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
