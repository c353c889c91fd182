"""The real checkpoints at their true size, with random weights: export, memory, speed, parity.

    python -m benchmarks.fullsize [pictures] [language] [--gpu]

`pictures`: Stable Diffusion 1.5 and CLIPSeg. Skeleton checkpoints go into build/fullsize/ (unless they are there),
are exported and served, and a picture of 1024 x 683 pixels is edited through `recast edit` in 4 steps; then each
network is timed beside diffusers on the same folder. `language`: QwQ-32B-Preview in NF4 (20 GB on disk) and
Qwen2.5-1.5B, each served by the `parse` step and asked one sentence. With --gpu on the first GPU, in fp16. Both
write a table and the same as JSON into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
from PIL import Image
from recast import Client
from recast.errors import NotAnEdit

from benchmarks.diffusion import by_diffusers, by_recast, canvas_of, psnr
from benchmarks.machine import machine
from export import skeleton
from export.demo import world
from export.demo.tiny_qwen2 import answer_text
from serving.diffusion.options import Options
from serving.language.grammar import START, AnswerState
from serving.language.instruction import Edit
from serving.language.memory import bytes_needed
from serving.language.model import own_quantisation
from serving.launcher.processes import stubs
from serving.launcher.server import RunningServer, start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config
from serving.onnx_backend.config import Settings
from serving.onnx_backend.runtimes import open_runtime

WORK = Path("build/fullsize")
RESULTS = Path("benchmarks/results")
LANGUAGE = {"qwen2.5-1.5b-instruct": False, "qwq-32b-preview": True}
"""Whether the skeleton is written in NF4 already; the others are quantised when they are loaded."""
SENTENCE = "Replace the red car on the left with a bicycle"
IGNORED = shutil.ignore_patterns("[0-9]*", ".[0-9]*")
CHECKPOINTS = {"mask": "clipseg-rd64-refined", "inpaint": "sd15-inpainting"}
SIZE, STEPS, REPEATS = (1024, 683), 4, 3
SEED = 1000003


@dataclass(frozen=True)
class Place:
    """Where the networks run: the launcher's --config, the export's precision, and diffusers' device and precisions."""

    config: str | None
    precision: str
    device: str
    rivals: Mapping[str, torch.dtype]

    @classmethod
    def find(cls, gpu: bool) -> Place:
        """SystemExit naming what is missing for a GPU."""
        if not gpu:
            return cls(
                quickest_config(), "fp32", "cpu", {"diffusers fp32": torch.float32, "diffusers bf16": torch.bfloat16}
            )
        if not torch.cuda.is_available():
            raise SystemExit("torch finds no GPU: install NVIDIA's driver for CUDA 13, then `nvidia-smi` must answer")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise SystemExit("onnxruntime has no CUDA provider: install onnxruntime-gpu, not onnxruntime")
        rivals = {"diffusers fp16": torch.float16, "diffusers bf16": torch.bfloat16}
        return cls("cuda", "fp16", "cuda", rivals)

    def __str__(self) -> str:
        return f"--config {self.config}" if self.config else "ONNX Runtime's CPU provider"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fullsize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"pictures": (pictures, pictures_text), "language": (language, language_text)}
    parser.add_argument("part", nargs="*", choices=[[], *parts], default=list(parts))
    parser.add_argument("--gpu", action="store_true", help="on the first GPU, in fp16, in place of the CPU")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    place = Place.find(options.gpu)
    for part in options.part:
        measure, text = parts[part]
        report = measure(place)
        name = f"fullsize-{part}{'-gpu' if options.gpu else ''}"
        (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (RESULTS / f"{name}.md").write_text(text(report))
        print(text(report), flush=True)


def language(place: Place) -> dict[str, Any]:
    """For each language model: seconds to load, peak memory, seconds of one answer. The step itself takes a GPU."""
    return {"machine": machine(), "models": [language_model(*each) for each in LANGUAGE.items()]}


def language_model(preset: str, nf4: bool) -> dict[str, Any]:
    folder, repository = WORK / preset, WORK / "language_repository"
    if not folder.exists():
        print(f"writing {preset} with random weights ...", flush=True)
        skeleton.write(preset, folder, nf4=nf4)
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree("model_repository/parse", repository / "parse", ignore=IGNORED)
    run_export("--preset", preset, "--checkpoint", str(folder), "--repository", str(repository))
    config = transformers.AutoConfig.from_pretrained(folder)
    own = own_quantisation(config.to_dict())
    needed = bytes_needed(config, torch.bfloat16, own or "nf4_double")
    print(f"loading {preset} ...", flush=True)
    started = time.monotonic()
    with start(ServerOptions(repository, ready_model="parse", ready_timeout=3600)) as server:
        row: dict[str, Any] = {"preset": preset, "load seconds": round(time.monotonic() - started)}
        answers = [ask(server) for _ in range(2)]
        row |= {"first seconds": answers[0][0], "warm seconds": answers[1][0], "answer": answers[1][1]}
        row["choices"] = choices(transformers.AutoTokenizer.from_pretrained(folder), answers[1][1])
        row["peak GB"] = max(memory_of(server.pid).values())
    shutil.rmtree(repository)
    head = config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head * 2
    return row | {"estimate GB": round(needed / 1e9, 1), "cache KB a token": cache / 1e3}


def ask(server: RunningServer) -> tuple[float, str]:
    """Seconds, and the model's answer, of one sentence."""
    started, edit = time.monotonic(), None
    with Client(server.grpc_url, timeout=3600) as client:
        try:
            said = client.parse(SENTENCE)
            edit = Edit(said.intent, said.target, said.replacement)
        except NotAnEdit:  # random weights may say anything that the grammar allows
            pass
    return round(time.monotonic() - started, 2), answer_text(edit)


def choices(tokenizer: Any, said: str) -> int:
    """How many tokens of an answer had an alternative: each is a call of the model, the others cost none."""
    answer = AnswerState(SENTENCE, lambda texts: tokenizer(list(texts), add_special_tokens=False).input_ids)
    tokens, count = tokenizer(said.removeprefix(START), add_special_tokens=False).input_ids, 0
    answer.forced()
    while answer.allowed:
        answer.advance(tokens[len(answer.tokens)])
        count += 1
        answer.forced()
    return count


def language_text(report: dict[str, Any]) -> str:
    lines = [
        f"The `parse` step with language models at full size in NF4, random weights. {report['machine']}.",
        "",
        "| preset | estimated GB | peak GB | KB of cache a token | seconds to load | first sentence | second | token |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["models"]:
        lines.append(
            f"| {row['preset']} | {row['estimate GB']} | {row['peak GB']} | {row['cache KB a token']:.0f} |"
            f" {row['load seconds']} | {row['first seconds']} s | {row['warm seconds']} s |"
            f" {row['warm seconds'] / row['choices']:.2f} s |"
        )
    lines += ["", "A token: one of those where the grammar left a choice, the first with the sentence before it. The"]
    lines += ["peak counts pages of the checkpoint's files too, which the kernel takes back when it needs them."]
    return "\n".join(lines) + "\n"


def pictures(place: Place) -> dict[str, Any]:
    for step, preset in CHECKPOINTS.items():
        if not (WORK / step).exists():
            print(f"writing {preset} with random weights ...", flush=True)
            skeleton.write(preset, WORK / step)
    report: dict[str, Any] = {"machine": machine(), "export": {}}
    repository = fresh_repository()
    for step, preset in CHECKPOINTS.items():
        report["export"][preset] = export(preset, step, repository, place)
    report["parity"] = parity(repository)
    report["operators"] = operators(repository)
    report["served with"] = str(place)
    report["edit"] = edit(repository, place)
    report["networks"] = timings(repository, place)
    if place.device == "cpu":
        report["loop PSNR"] = round(loop(repository), 1)
    return report


def fresh_repository() -> Path:
    """A model repository with the demo's parse and room for the rest."""
    repository = WORK / "model_repository"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree("model_repository", repository, ignore=IGNORED)
    for model in ("replace", "admit"):  # what no export makes
        shutil.copytree(f"model_repository/{model}/1", repository / model / "1")
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


def export(preset: str, step: str, repository: Path, place: Place) -> dict[str, Any]:
    print(f"exporting {preset} ...", flush=True)
    words = ["--preset", preset, "--checkpoint", str(WORK / step), "--repository", str(repository),
             "--precision", place.precision]  # fmt: skip
    if step == "mask":  # random weights find nothing with confidence
        words += ["--set", "threshold=0.001"]
    output, seconds, memory = run_export(*words)
    print(output, flush=True)
    return {"seconds": round(seconds), "peak GB": round(memory, 1)}


def parity(repository: Path) -> dict[str, float]:
    """The largest error of each network in ONNX Runtime as exported, of torch's largest output in float32."""
    releases = [json.loads((repository / step / "1" / "release.json").read_text()) for step in CHECKPOINTS]
    return {name: network["error"] for release in releases for name, network in release["networks"].items()}


def operators(repository: Path) -> dict[str, dict[str, int]]:
    """For each network: all operators in its file, those that are a whole attention, and softmaxes left outside one."""
    counts = {}
    for file in sorted(repository.glob("*/1/model.onnx")):
        kinds = Counter(node.op_type for node in onnx.load(file, load_external_data=False).graph.node)
        counts[file.parts[-3]] = {
            "operators": kinds.total(),
            "attentions in one": kinds["MultiHeadAttention"],
            "softmax": kinds["Softmax"],
        }
    return counts


def loop(repository: Path) -> float:
    """The PSNR in dB of a whole guided edit of 4 steps in float32 against diffusers', of the same folder and noise."""
    options, caption = Options(1, STEPS, 7.5), "a bicycle"
    pipe = StableDiffusionInpaintPipeline.from_pretrained(
        WORK / "inpaint", torch_dtype=torch.float32, safety_checker=None
    )
    canvas = canvas_of(512)
    (wanted,) = by_diffusers(pipe, canvas, caption, options)
    del pipe
    return psnr(by_recast(repository, canvas, caption, options), wanted)


def edit(repository: Path, place: Place) -> dict[str, Any]:
    """One edit through the command line, twice: the second call is warm. Seconds, milliseconds by step, memory."""
    scene = world.draw(world.plan(SEED), SIZE)
    picture = WORK / "photograph.png"
    Image.fromarray(scene.image).resize(SIZE).save(picture)
    sentence = f"Replace the {scene.things[0].kind} with a bicycle"
    with start(ServerOptions(repository, config=place.config, ready_timeout=900)) as server:
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
    processes = {stub.pid: stub.instance for stub in stubs(parent)} | {parent: "tritonserver"}
    return {name: peak_of(pid) for pid, name in sorted(processes.items(), key=lambda process: process[1])}


def peak_of(pid: int) -> float:
    """Gigabytes; psutil knows no process's peak but its own."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1e6, 2)


def timings(repository: Path, place: Place) -> list[dict[str, Any]]:
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
        rows.append(compare("unet", f"UNet step, batch {batch}", repository, place, inputs, UNet2DConditionModel))
    picture = {"sample": rng.uniform(-1, 1, (1, 3, 512, 512)).astype(np.float32)}
    rows.append(compare("vae_encoder", "VAE encode, 512 x 512", repository, place, picture, AutoencoderKL))
    latents = {"latent_sample": rng.standard_normal((1, 4, 64, 64), np.float32)}
    rows.append(compare("vae_decoder", "VAE decode, 512 x 512", repository, place, latents, AutoencoderKL))
    return rows


def compare(
    network: str, title: str, repository: Path, place: Place, inputs: dict[str, np.ndarray], kind: Any
) -> dict[str, Any]:
    print(f"timing {title} ...", flush=True)
    calls: dict[str, Callable[[], Any]] = {"recast": ours(repository, network, place, inputs)}
    for name, dtype in place.rivals.items():
        calls[name] = theirs(network, kind, dtype, place.device, inputs)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, np.ndarray] = {}
    for repeat in range(REPEATS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            results[name] = call()
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    exact = results[next(iter(place.rivals))]
    return {
        "network": title,
        "seconds": {name: [round(value, 3) for value in sorted(v)] for name, v in seconds.items()},
        "error": {name: float(np.abs(r - exact).max() / np.abs(exact).max()) for name, r in results.items()},
    }


def ours(repository: Path, network: str, place: Place, inputs: dict[str, np.ndarray]) -> Callable[[], Any]:
    properties = {"INFERENCE_PRECISION_HINT": "bf16"} if place.config == "openvino" else None
    settings = Settings(0 if place.config == "cuda" else None, os.cpu_count() or 1, openvino=properties)
    runtime = open_runtime(repository / network / "1" / "model.onnx", settings)
    names = [port.name for port in runtime.outputs]
    return lambda: runtime.run(names, inputs)[0][:, :4]  # of the encoder's output, the mean


def theirs(
    network: str, kind: Any, dtype: torch.dtype, device: str, inputs: dict[str, np.ndarray]
) -> Callable[[], Any]:
    folder = WORK / "inpaint" / ("unet" if network == "unet" else "vae")
    model = kind.from_pretrained(folder, torch_dtype=dtype).eval().to(device)
    tensors = [torch.from_numpy(value).to(device, dtype) for value in inputs.values()]
    run = {
        "unet": lambda: model(*tensors).sample.float().cpu().numpy(),
        "vae_encoder": lambda: model.encode(*tensors).latent_dist.mean.float().cpu().numpy(),
        "vae_decoder": lambda: model.decode(*tensors).sample.float().cpu().numpy(),
    }[network]
    return torch.inference_mode()(run)


def pictures_text(report: dict[str, Any]) -> str:
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
        f"| seconds a call: median (least … most) | {' | '.join(report['networks'][0]['seconds'])} |",
        "|---|---|---|---|",
    ]
    for row in report["networks"]:
        cells = [f"{statistics.median(v):.2f} ({v[0]:.2f} … {v[-1]:.2f})" for v in row["seconds"].values()]
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    lines += ["", f"| largest error of largest output | {' | '.join(report['networks'][0]['error'])} |"]
    lines += ["|---|---|---|---|"]
    for row in report["networks"]:
        lines.append(f"| {row['network']} | {' | '.join(f'{error:.1e}' for error in row['error'].values())} |")
    lines += ["", "| network | operators | attentions in one | softmax |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(map(str, row.values()))} |" for name, row in report["operators"].items()]
    if "loop PSNR" in report:
        lines += ["", f"A whole guided edit in fp32 against diffusers on the same folder: {report['loop PSNR']} dB."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
