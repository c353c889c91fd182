"""What comes before the painting: is the sentence understood, is the thing found, is it the right one?"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from PIL import Image
from recast import Client
from recast.errors import NotAnEdit, ObjectNotFound

from benchmarks.quality.cases import Case
from benchmarks.quality.figures import Tally
from export.demo import sentences, world
from export.demo.judge import Judge


def measure_parse(client: Client, tally: Tally, seed: int, count: int) -> None:
    """Sentences from templates and nouns kept out of training, those that ask for no edit among them."""
    for sentence, wanted in sentences.held_out(count, seed):
        try:
            got = client.parse(sentence)
            right = wanted is not None and [got.intent, got.target.lower(), got.replacement.lower()] == [
                wanted.intent,
                wanted.target.lower(),
                wanted.replacement.lower(),
            ]
        except NotAnEdit:
            right = wanted is None
        tally.add("parse right", right)


def measure_mask(client: Client, tally: Tally, case: Case) -> None:
    """The tight mask of the named thing, and the refusal of a kind that is not in the picture."""
    found = outline(client, case.scene.image, case.name)
    tally.add("object found", found is not None)
    if found is not None:
        tally.add("mask IoU", overlap(found, case.thing.mask > 127))
    present = {thing.kind for thing in case.scene.things}
    absent = random.Random(case.seed).choice([kind for kind in world.KINDS if kind not in present])
    tally.add("absent object refused", outline(client, case.scene.image, absent) is None)


def outline(client: Client, image: np.ndarray, name: str) -> np.ndarray | None:
    """The server's tight mask of the named thing, bool [H, W]; None where it finds none."""
    try:
        return np.asarray(client.mask(Image.fromarray(image), name).object_mask) > 127
    except ObjectNotFound:
        return None


def measure_pair(client: Client, tally: Tally, seed: int) -> None:
    """Two things of one kind that differ in colour and side: is the one that the words mean found?"""
    rng = np.random.default_rng([seed, 3])
    plan = world.plan(seed, count=1)
    one = plan.things[0]
    x0, y0, x1, y1 = one.box
    wide = min(x1 - x0, 0.42)
    tall = (y1 - y0) * wide / (x1 - x0)
    colours = rng.permutation(world.COLOURS)[:2]
    pair = tuple(
        replace(one, box=(at, y1 - tall, at + wide, y1), colour=str(colour), paint=world.vary(rng, str(colour)))
        for at, colour in zip((0.04, 0.96 - wide), colours, strict=True)
    )
    scene = world.draw(replace(plan, things=pair), (480, round(480 / plan.aspect)))
    meant = scene.things[int(rng.integers(2))]
    side = world.side_of(meant, scene.image.shape[1])
    name = str(rng.choice([world.phrase(meant), f"{meant.kind} on the {side}", f"{side} {meant.kind}"]))
    found = outline(client, scene.image, name)
    tally.add("right one of two", found is not None and overlap(found, meant.mask > 127) > 0.5)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boolean masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def measure_judge(judge: Judge, tally: Tally, case: Case) -> None:
    verdict = judge(case.scene.image, case.thing.box)
    tally.add("judge on true renders, kind", verdict.kind == case.thing.kind)
    tally.add("judge on true renders, colour", verdict.colour == case.thing.colour)
