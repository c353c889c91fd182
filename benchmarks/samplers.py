"""Fewer steps at the same quality? Samplers and step counts on held-out scenes: `python -m benchmarks.samplers`.

Each edits the same scenes from the same noise. PSNR inside the mask against DDIM at 50 steps, which all of them
approach; the judge's verdict on kind and colour; how much the UNet computes. All in fp32, and DDIM once more with what
is quickest on this processor, where that is bf16. Another release, distilled to few
steps, leads elsewhere from the same noise: for it only the judge counts. Writes benchmarks/results/samplers.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.diffusion import psnr
from benchmarks.in_process import InProcess
from benchmarks.quality.cases import JUDGE, REPOSITORY, RESULTS, cases
from benchmarks.sheet import Entry, contact_sheet
from export.demo import world
from export.demo.judge import Judge
from serving.imaging.picture import Picture, encode
from serving.language.instruction import Edit, caption
from serving.launcher.tritonserver import quickest_config

SHEETS = Path("build/samplers")
CLASSES = {"ddim": "DDIMScheduler", "dpm++2m": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler"}
REFERENCE = ("ddim", 50)
RUNS = [REFERENCE, *((name, n) for n in (20, 12, 10, 8, 6) for name in CLASSES)]


def contests(seed: int, count: int) -> Iterator[tuple[world.Scene, bytes, Edit]]:
    """A scene, its PNG file and a replacement that is asked for."""
    for case in cases(seed, count):
        rng = random.Random(case.seed)
        kind = rng.choice([kind for kind in world.KINDS if kind != case.thing.kind])
        yield (
            case.scene,
            encode(Picture("RGB", case.scene.image)),
            Edit("replace", case.name, f"{rng.choice(world.COLOURS)} {kind}"),
        )


class Trial:
    """The same edits by one sampler after the other; `rows` of results, the first run's pictures the reference."""

    def __init__(self, chain: InProcess, judge: Judge, contests: Iterable[tuple[world.Scene, bytes, Edit]]):
        self.chain, self.judge = chain, judge
        self.work = [(scene, file, wish, *chain.mask(file, wish)) for scene, file, wish in contests]
        self.reference: list[np.ndarray] = []
        self.rows: list[dict] = []

    def run(self, name: str, steps: int, guidance_scale: float, *, apart: bool = False) -> None:
        """A row for the chain's sampler; one that goes `apart` leads elsewhere from the same noise."""
        entries, dbs, kinds, colours = [], [], [], []
        for n, (scene, file, wish, mask, outline) in enumerate(self.work):
            result = self.chain.inpaint(file, mask, outline, caption(wish), n, num_inference_steps=steps,
                                        guidance_scale=guidance_scale)  # fmt: skip
            after, part = result.images[0].pixels, result.blended_mask > 127
            if len(self.reference) < len(self.work):
                self.reference.append(after)
            dbs.append(psnr(after[part].astype(float), self.reference[n][part].astype(float)))
            verdict = self.judge(after, world.bounds(result.blended_mask))
            colour, kind = wish.replacement.split()
            kinds.append(verdict.kind == kind)
            colours.append(verdict.colour == colour)
            entries.append(Entry(scene.image, after, f"{name} {steps}: {wish.replacement}"))
        contact_sheet(entries[:24]).save(SHEETS / f"{name}-{steps}.png")
        calls = steps * (2 if guidance_scale > 1 else 1)
        known = not apart and (name, steps) != REFERENCE
        self.rows.append({"sampler": name, "steps": steps, "UNet rows": calls,
                          "asked kind": round(float(np.mean(kinds)), 3),
                          "asked colour": round(float(np.mean(colours)), 3),
                          "PSNR in the mask, dB": round(float(np.median(dbs)), 1) if known else None})  # fmt: skip
        print(json.dumps(self.rows[-1]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=world.HELD_OUT)
    parser.add_argument("--distilled", type=Path, help="a repository whose release 1 of inpaint is distilled")
    options = parser.parse_args()
    SHEETS.mkdir(parents=True, exist_ok=True)
    chain = InProcess(REPOSITORY)
    trial = Trial(chain, Judge(JUDGE), contests(options.seed, options.scenes))
    demo = chain.assets
    for sampler, steps in RUNS:
        settings = dataclasses.replace(demo.settings, sampler=sampler)
        chain.assets = dataclasses.replace(
            demo, settings=settings, scheduler={**demo.scheduler, "_class_name": CLASSES[sampler]}
        )
        trial.run(sampler, steps, demo.settings.guidance_scale)
    chain.paint_with(REPOSITORY, quickest_config())
    for steps in (50, 20) if chain.config else ():
        trial.run(f"ddim, {chain.config}", steps, demo.settings.guidance_scale)
    if options.distilled:
        chain.paint_with(options.distilled)
        for steps in (4, 8):
            trial.run("lcm", steps, 1.0, apart=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "samplers.json").write_text(json.dumps({"scenes": options.scenes, "rows": trial.rows}, indent=1) + "\n")
    (RESULTS / "samplers.md").write_text(table(trial.rows))


def table(rows: list[dict]) -> str:
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join('' if row[name] is None else str(row[name]) for name in head)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
