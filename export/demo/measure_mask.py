"""How well the mask step does on scenes whose truth is known: `python -m export.demo.measure_mask`.

Runs the step's own functions with the checkpoint's network in this process. For figures through the server
see `python -m benchmarks.quality`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation

from export.demo import world
from export.demo.objects import KINDS
from export.mask import write_assets
from serving.errors import EditError
from serving.imaging.picture import Picture, decode
from serving.segmentation.segmenter import Masker

CHECKPOINT = Path(__file__).parent / "weights" / "mask"
STRANGERS = ("unicorn", "piano", "tractor", "elephant", "bottle", "telephone")


class Bench:
    """The mask step without a server: `find(picture, phrase)` gives the found mask, or None."""

    def __init__(self, checkpoint: Path = CHECKPOINT):
        self.network = CLIPSegForImageSegmentation.from_pretrained(checkpoint, dtype=torch.float32).eval()
        with tempfile.TemporaryDirectory() as folder:
            assets = write_assets(checkpoint, Path(folder), {"threshold": 0.5, "template": "{}"})
            (Path(folder) / "mask.json").write_text(json.dumps(assets), encoding="utf-8")
            self.masker = Masker(Path(folder))

    @torch.no_grad()
    def segment(self, pixels: np.ndarray, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
        inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": attention}
        logits = self.network(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
        return logits.reshape(len(ids), *logits.shape[-2:]).numpy()

    def find(self, picture: Picture, phrase: str) -> np.ndarray | None:
        try:
            return self.masker.find(picture, phrase, self.segment).object_mask
        except EditError:
            return None


def twins(seed: int) -> world.Plan:
    """The scene of `seed` with two things of one kind in different colours and places."""
    planned, rng = world.plan(seed, 3), np.random.default_rng([seed, 83])
    first, *others = planned.things
    wide = (first.box[3] - first.box[1]) * KINDS[first.kind].aspect / planned.aspect
    for _ in range(200):
        x0, foot = rng.uniform(0.02, 0.98 - wide), rng.uniform(planned.horizon + 0.08, 0.95)
        box = (x0, foot - (first.box[3] - first.box[1]), x0 + wide, foot)
        colour = str(rng.choice([c for c in world.COLOURS if c != first.colour]))
        aside = abs(x0 + wide / 2 - (first.box[0] + first.box[2]) / 2) > 0.1
        if box[1] > 0.02 and aside and all(world.overlap(box, thing.box) < 0.02 for thing in planned.things):
            second = replace(first, colour=colour, box=box, paint=world.vary(rng, colour))
            kept = [thing for thing in others if thing.kind != first.kind]
            return replace(planned, things=tuple(sorted((first, second, *kept), key=lambda thing: thing.box[3])))
    return twins(seed + 7)


def as_picture(image: np.ndarray) -> Picture:
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return decode(file.getvalue())


def iou(found: np.ndarray | None, truth: np.ndarray) -> float:
    if found is None:
        return 0.0
    a, b = found >= 128, truth >= 128
    return float((a & b).sum() / max(1, (a | b).sum()))


def lone(bench: Bench, seed: int) -> Iterator[tuple[str, str, float]]:
    """(question, phrase, IoU or 1/0) for the scene of `seed`: each thing that is the only one of its kind."""
    scene = world.scene(seed)
    picture, kinds = as_picture(scene.image), [thing.kind for thing in scene.things]
    rng = np.random.default_rng([seed, 89])
    for thing in scene.things:
        if kinds.count(thing.kind) == 1:
            yield "noun", thing.kind, iou(bench.find(picture, thing.kind), thing.mask)
            yield (
                "colour noun",
                world.phrase(thing),
                iou(bench.find(picture, world.phrase(thing)), thing.mask),
            )
    thing = scene.things[rng.integers(len(scene.things))]
    taken = {other.colour for other in scene.things if other.kind == thing.kind}
    absent = {
        "absent kind": str(rng.choice([kind for kind in world.KINDS if kind not in kinds])),
        "absent colour": f"{rng.choice([c for c in world.COLOURS if c not in taken])} {thing.kind}",
        "stranger": str(rng.choice(STRANGERS)),
    }
    for question, phrase in absent.items():
        yield question, phrase, float(bench.find(picture, phrase) is None)


def paired(bench: Bench, seed: int) -> Iterator[tuple[str, str, float]]:
    planned = twins(seed)
    size = world.own_size(planned)
    scene = world.draw(planned, size)
    picture = as_picture(scene.image)
    counts = [thing.kind for thing in scene.things]
    twin = next(kind for kind in counts if counts.count(kind) == 2)
    pair = [thing for thing in scene.things if thing.kind == twin]
    left, right = sorted(pair, key=lambda thing: thing.box[0] + thing.box[2])
    for question, phrase, wanted in (
        ("right of two by side", f"{left.kind} on the left", left),
        ("right of two by side", f"{right.kind} on the right", right),
        ("right of two by colour", world.phrase(left), left),
        ("right of two by colour", world.phrase(right), right),
    ):
        yield question, phrase, float(iou(bench.find(picture, phrase), wanted.mask) > 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=world.HELD_OUT, help="first scene")
    parser.add_argument("--verbose", action="store_true", help="print each answer that is off")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.checkpoint)
    answers: dict[str, list[float]] = {}
    for seed in range(arguments.seed, arguments.seed + arguments.scenes):
        for question, phrase, value in (*lone(bench, seed), *paired(bench, seed)):
            answers.setdefault(question, []).append(value)
            if arguments.verbose and value < 0.7:
                print(f"{seed} {question}: {phrase} {value:.2f}")
    figures = {question: round(float(np.mean(values)), 4) for question, values in answers.items()}
    figures["found"] = round(float(np.mean([value > 0.5 for value in answers["noun"]])), 4)
    print(json.dumps({"scenes": arguments.scenes, "seed": arguments.seed, **figures}))


if __name__ == "__main__":
    main()
