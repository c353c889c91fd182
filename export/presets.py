"""Named checkpoints, and what they need beside their own files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A checkpoint for each step, and each step's settings.

    A checkpoint's own `recast.json`, where it has one, overrides `settings`. `rolling` presets own release 1, which
    is made again when the checkpoint changes; all others add releases and never touch one that exists.
    """

    name: str
    checkpoints: Mapping[str, Path]
    settings: Mapping[str, Mapping[str, Any]]
    rolling: bool = False


DEMO_WEIGHTS = Path(__file__).parent / "demo" / "weights"

PRESETS = {
    "demo": Preset(
        name="demo",
        checkpoints={step: DEMO_WEIGHTS / step for step in ("parse", "mask", "inpaint")},
        settings={
            "parse": {"quantisation": "nf4", "max_prompt_chars": 1000},
            "mask": {"threshold": 0.5, "template": "{}"},
            "inpaint": {"num_inference_steps": 20, "guidance_scale": 2.0},
        },
        rolling=True,
    ),
}
