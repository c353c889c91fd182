"""Named checkpoints, and what they need beside their own files."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.language.settings import ParseSettings


@dataclass(frozen=True)
class Hub:
    """A checkpoint on the Hugging Face hub; `revision` is a commit, a tag or a branch."""

    id: str
    revision: str
    licence: str


@dataclass(frozen=True)
class Preset:
    """A checkpoint for each step that it covers, and each step's settings.

    A checkpoint's own `recast.json`, where it has one, overrides `settings`, and `--set` overrides both.
    `precision` is the networks' unless the command says otherwise. `rolling` presets own release 1, which is made
    again when the checkpoint changes; all others add releases and never touch one that exists.
    Sizes are GB (1e9 bytes): `download` of the files that are read, `export` and `serve` the peak memory, on a CPU
    and in fp32; those of sd15-inpainting, clipseg, qwq and qwen2.5-1.5b are measured (benchmarks/results), the
    others estimated from them. A GPU in fp16 takes half and less.
    """

    checkpoints: Mapping[str, Path | Hub]
    settings: Mapping[str, Mapping[str, Any]]
    download: float
    export: float
    serve: float
    needs: str
    precision: str = "fp32"
    rolling: bool = False


DEMO_WEIGHTS = Path(__file__).parent / "demo" / "weights"
PARSE = asdict(ParseSettings())
MASK = {"threshold": 0.5, "template": "{}", "knows": ()}
INPAINT = {"num_inference_steps": 20, "guidance_scale": 4.0, "scheduler": {}}


def _parse(hub: Hub, **sizes: Any) -> Preset:
    return Preset({"parse": hub}, {"parse": {**PARSE, "quantisation": "nf4_double"}}, **sizes)


def _inpaint(hub: Hub, settings: Mapping[str, Any], **sizes: Any) -> Preset:
    return Preset({"inpaint": hub}, {"inpaint": {**INPAINT, **settings}}, **sizes)


PRESETS = {
    "demo": Preset(
        {step: DEMO_WEIGHTS / step for step in ("parse", "mask", "inpaint")},
        {"parse": PARSE, "mask": MASK, "inpaint": {**INPAINT, "num_inference_steps": 12}},
        download=0.0,
        export=1.5,
        serve=2.0,
        needs="any machine",
        rolling=True,
    ),
    "demo-lcm": Preset(
        {"inpaint": DEMO_WEIGHTS / "inpaint_lcm"},
        {"inpaint": {**INPAINT, "num_inference_steps": 4, "guidance_scale": 1.0}},
        download=0.0,
        export=1.5,
        serve=2.0,
        needs="any machine; four steps instead of twelve, and no guidance",
    ),
    "qwq-32b-preview": _parse(
        Hub("Qwen/QwQ-32B-Preview", "main", "Apache-2.0"),
        download=65.5,
        export=1.0,
        serve=22.0,
        needs="a GPU of 24 GB; two CPU cores take 15 s a sentence",
    ),
    "qwen2.5-7b-instruct": _parse(
        Hub("Qwen/Qwen2.5-7B-Instruct", "main", "Apache-2.0"),
        download=15.2,
        export=1.0,
        serve=9.0,
        needs="a GPU of 8 GB",
    ),
    "qwen2.5-1.5b-instruct": _parse(
        Hub("Qwen/Qwen2.5-1.5B-Instruct", "main", "Apache-2.0"),
        download=3.1,
        export=1.0,
        serve=5.4,
        needs="a CPU",
    ),
    "clipseg-rd64-refined": Preset(
        {"mask": Hub("CIDAS/clipseg-rd64-refined", "main", "Apache-2.0")},
        {"mask": {**MASK, "threshold": 0.4, "template": "a photo of a {}"}},
        download=0.6,
        export=1.8,
        serve=1.2,
        needs="a CPU",
    ),
    "sam3": Preset(
        {"mask": Hub("facebook/sam3", "main", "SAM License")},
        {"mask": MASK},
        download=3.4,
        export=9.0,
        serve=8.0,
        needs="a GPU of 8 GB in fp16; crisp masks of single things",
    ),
    "sd15-inpainting": _inpaint(
        Hub(
            "genai-archive/stable-diffusion-v1-5-inpainting",
            "e0c62ab4fccab109b331178e338ab2a27f17f0ee",
            "CreativeML OpenRAIL-M",
        ),
        {"num_inference_steps": 25, "guidance_scale": 7.5},
        download=4.3,
        export=8.4,
        serve=15.0,
        needs="a GPU of 6 GB in fp16; two CPU cores take 4 s a step",
    ),
    "sd2-inpainting": _inpaint(
        Hub("sd2-community/stable-diffusion-2-inpainting", "main", "CreativeML Open RAIL++-M"),
        {"num_inference_steps": 25, "guidance_scale": 7.5},
        download=5.2,
        export=8.6,
        serve=15.5,
        needs="a GPU of 6 GB in fp16",
    ),
    "sdxl-inpainting": _inpaint(
        Hub("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", "main", "CreativeML Open RAIL++-M"),
        {"num_inference_steps": 25, "guidance_scale": 8.0},
        download=13.9,
        export=24.0,
        serve=40.0,
        needs="a GPU of 12 GB in fp16",
        precision="fp16",
    ),
}


HEADINGS = ("preset", "step", "checkpoint", "revision", "licence", "download", "export", "serve", "needs")


def table(presets: Mapping[str, Preset] = PRESETS) -> str:
    """The presets for people to read, one a line and step."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for name, preset in presets.items():
        for step, source in preset.checkpoints.items():
            hub = source if isinstance(source, Hub) else Hub("in this repository", "-", "as Recast")
            sizes = [f"{size:.1f} GB" for size in (preset.download, preset.export, preset.serve)]
            rows.append((name, step, hub.id, hub.revision[:12], hub.licence, *sizes, preset.needs))
    return _aligned(rows)


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def covering(presets: Iterable[Preset]) -> dict[str, Preset]:
    """The preset for each step; ValueError when two cover the same."""
    chosen: dict[str, Preset] = {}
    for preset in presets:
        for step in preset.checkpoints:
            if step in chosen:
                raise ValueError(f"two presets cover the step {step}: name one for each step")
            chosen[step] = preset
    return chosen
