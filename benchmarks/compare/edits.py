"""Edits of held-out scenes to ask of several systems alike, each with a picture and a sentence of its own."""

from __future__ import annotations

import io
import itertools
import random
import threading
from collections.abc import Sequence

from PIL import Image

from benchmarks.quality.cases import cases
from benchmarks.rivals.request import Request
from export.demo import words, world
from serving.language.instruction import with_article

GUIDANCE_SCALE = 4.0
SCENES, WISHES_EACH = 10_000, 236
"""So many scene seeds, and so many things wished for, belong to one sequence."""
LEAST_PX = 1000


def all_wishes() -> list[tuple[str, str, str]]:
    """Adjective, colour and kind in random order: every one of them makes another sentence and another caption."""
    wishes = list(itertools.product(words.ADJECTIVES, world.COLOURS, world.KINDS))
    return random.Random("wishes").sample(wishes, len(wishes))


WISHES = all_wishes()


class Edits:
    """An endless sequence, the same for the same `number`; no picture of another number's is in it.

    Sentences and captions do not come again either, as long as sequences are not longer than WISHES_EACH: a cache has
    nothing to answer from. `steps` are the step counts to mix, in every run of as many edits each once, in random
    order. An edit is drawn when it is first asked for; `draw` does it ahead, so that it takes no time from what is
    measured.
    """

    def __init__(self, number: int, steps: Sequence[int]):
        self._number, self._steps = number, tuple(steps)
        self._cases = cases(world.HELD_OUT + SCENES * (number + 1), SCENES)
        self._rng = random.Random(f"edits {number}")
        self._turn: list[int] = []
        self._drawn: list[Request] = []
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Request:
        self.draw(index + 1)
        return self._drawn[index]

    def draw(self, count: int) -> None:
        """Have at least the first `count` edits ready."""
        with self._lock:
            while len(self._drawn) < count:
                self._drawn.append(self._next())

    def _next(self) -> Request:
        wish = WISHES[(self._number * WISHES_EACH + len(self._drawn)) % len(WISHES)]
        case = next(
            case for case in self._cases if case.thing.kind != wish[-1] and case.thing.mask.sum() > LEAST_PX * 255
        )
        prompt = f"Replace the {case.name} with {with_article(' '.join(wish))}"
        file = io.BytesIO()
        Image.fromarray(case.scene.image).save(file, "PNG")
        self._turn = self._turn or self._rng.sample(self._steps, len(self._steps))
        return Request(file.getvalue(), prompt, case.seed, self._turn.pop(), GUIDANCE_SCALE)
