"""Painting until it is right: each variant is looked at, and tried again with another seed where it went wrong."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from serving.diffusion.denoise import Progress
from serving.diffusion.options import Options
from serving.errors import EditError
from serving.imaging.composite import Sight

RIGHT = 0.5
"""A variant whose score is below this is painted again."""

Paint = Callable[[Sequence[int]], Generator[Progress, None, list[np.ndarray]]]
"""Paints an image, float32 [size, size, 3] in 0 … 255, a seed, told step by step."""
Look = Callable[[Sequence[np.ndarray]], list[Sight] | None]
"""What is seen in each image; None where nobody can tell."""


@dataclass(frozen=True)
class Attempt:
    """The best `image` of a variant, from the seed `seed`, after `attempts`; `sight` is None where nobody looked."""

    image: np.ndarray
    seed: int
    sight: Sight | None
    attempts: int = 1

    @property
    def right(self) -> bool:
        """Whether there is no reason to try again."""
        return self.sight is None or self.sight.score >= RIGHT

    def followed_by(self, other: "Attempt") -> "Attempt":
        """The better of two attempts at a variant, an unseen one being the worse, as the result of both."""
        scores = [-1.0 if each.sight is None else each.sight.score for each in (self, other)]
        best = other if scores[1] > scores[0] else self
        return Attempt(best.image, best.seed, best.sight, self.attempts + other.attempts)


def paint_until_right(
    paint: Paint, look: Look, options: Options, in_time: Callable[[float], bool]
) -> Generator[Progress, None, list[Attempt]]:
    """The best attempt at each variant, told step by step; a later attempt's steps are added to those before.

    Attempt number k at variant i has the seed `options.seed_of(i, k)`. `in_time` tells whether there are so many
    seconds left: another attempt is taken to need as many as the longest so far. Raises EditError; when a later attempt
    fails, what was painted before is the result, unless nobody waits for it.
    """
    best: dict[int, Attempt] = {}
    wrong, steps, longest = list(range(options.num_images)), 0, 0.0
    for number in range(options.max_attempts):
        started, seeds = time.monotonic(), [options.seed_of(variant, number) for variant in wrong]
        try:
            images, steps = yield from _added(paint(seeds), steps)
            sights: Sequence[Sight | None] = look(images) or [None] * len(images)
        except EditError as error:
            if number == 0 or error.name == "cancelled":
                raise
            break
        for variant, image, seed, sight in zip(wrong, images, seeds, sights, strict=True):
            new = Attempt(image, seed, sight)
            best[variant] = best[variant].followed_by(new) if variant in best else new
        wrong = [variant for variant in wrong if not best[variant].right]
        longest = max(longest, time.monotonic() - started)
        if not wrong or not in_time(longest):
            break
    return [best[variant] for variant in range(options.num_images)]


def _added(
    events: Generator[Progress, None, list[np.ndarray]], before: int
) -> Generator[Progress, None, tuple[list[np.ndarray], int]]:
    """`events` as they follow `before` denoising steps; returns their result and the steps until then."""
    steps = before
    try:
        while True:
            told = next(events)
            steps = before + told.steps
            yield told._replace(step=before + told.step, steps=steps)
    except StopIteration as end:
        return end.value, steps
    finally:
        events.close()
