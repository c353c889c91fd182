"""Held-out scenes, each with a thing to edit and a name that no other thing in it fits."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from export.demo import world
from serving.segmentation.edit_mask import loosened

JUDGE = Path("export/demo/weights/judge")
REPOSITORY = Path("model_repository")
RESULTS = Path("benchmarks/results")

LEAST_COVER = 40 * 255
"""The visible part of a thing that is to be edited, in covered px times 255."""


@dataclass(frozen=True, eq=False)  # its arrays cannot be compared at once
class Case:
    """A held-out scene, as planned and as drawn, and the thing in it, by its index, that `name` means."""

    plan: world.Plan
    scene: world.Scene
    index: int
    name: str

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def thing(self) -> world.Thing:
        return self.scene.things[self.index]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return self.scene.image.shape[1], self.scene.image.shape[0]

    @property
    def place(self) -> tuple[int, int, int, int]:
        """The box in px, x1 and y1 exclusive, where something else would stand: where the judge looks for it.

        It depends on the thing alone. In a box around what an edit happened to change, the judge names the neighbours.
        """
        x0, y0, x1, y1 = loosened(self.thing.box)
        width, height = self.size
        return max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))


def cases(seed: int, count: int) -> Iterable[Case]:
    """The first `count` scenes from `seed` on that hold a thing of 40 visible px or more that can be named."""
    if seed < world.HELD_OUT:
        raise SystemExit(f"--seed must be {world.HELD_OUT} or above: training saw the scenes below")
    while count:
        scene = world.scene(seed)
        rng = random.Random(seed)
        named = [
            (n, _name(thing, scene, rng)) for n, thing in enumerate(scene.things) if thing.mask.sum() > LEAST_COVER
        ]
        clear = [(n, name) for n, name in named if name]
        if clear:
            yield Case(world.plan(seed), scene, *rng.choice(clear))
            count -= 1
        seed += 1


def _name(thing: world.Thing, scene: world.Scene, rng: random.Random) -> str | None:
    """ "car" where it is the only one of its kind, "red car" where only the colour tells, else None."""
    alike = [other for other in scene.things if other.kind == thing.kind]
    if len(alike) == 1:
        return thing.kind if rng.random() < 0.6 else world.phrase(thing)
    return world.phrase(thing) if sum(other.colour == thing.colour for other in alike) == 1 else None
