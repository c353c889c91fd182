"""When a variant is painted again, from which seed, and which attempt is kept."""

import math

import numpy as np
import pytest

from serving.diffusion import attempts
from serving.diffusion.attempts import paint_until_right
from serving.diffusion.denoise import Progress
from serving.diffusion.options import MAX_SEED, Options
from serving.errors import EditError
from serving.imaging.composite import Sight
from serving.steps.bls import Caller

STEPS = 2
LATENTS = np.zeros(0)


class Painter:
    """Paints images that are their seeds, and looks at them: `scores` has a score for a seed, 0 otherwise."""

    def __init__(self, scores, fails=None):
        self.scores, self.fails, self.painted = scores, fails, []

    def paint(self, seeds):
        self.painted.append(list(seeds))
        for step in range(1, STEPS + 1):
            if self.fails and len(self.painted) == 2:
                raise EditError(self.fails, "…")
            yield Progress(step, STEPS, LATENTS, LATENTS)
        return [np.array(seed) for seed in seeds]

    def look(self, images):
        return None if self.scores is None else [Sight(None, self.scores.get(int(image), 0.0)) for image in images]


def options(seed=10, num_images=1, max_attempts=3):
    return Options(seed, STEPS, 1.0, num_images=num_images, max_attempts=max_attempts)


def ended(painter, wanted, in_time=lambda seconds: True):
    """What was told, and the attempts that were kept: (seed, how many) of each variant."""
    kept = []

    def run():
        kept.extend((yield from paint_until_right(painter.paint, painter.look, wanted, in_time)))

    told = [event[:2] for event in run()]
    assert [int(best.image) for best in kept] == [best.seed for best in kept]
    return told, [(best.seed, best.attempts) for best in kept]


def test_what_is_right_is_painted_once():
    painter = Painter({10: 0.9})
    assert ended(painter, options()) == ([(1, 2), (2, 2)], [(10, 1)])
    assert painter.painted == [[10]]


def test_what_went_wrong_is_painted_again_until_it_is_right():
    painter = Painter({11: 0.9})
    told, kept = ended(painter, options(max_attempts=5))
    assert kept == [(11, 2)]
    assert told == [(1, 2), (2, 2), (3, 4), (4, 4)]


@pytest.mark.parametrize(("scores", "best"), [({10: 0.3, 11: 0.1}, 10), ({10: 0.1, 11: 0.3, 12: 0.2}, 11)])
def test_the_best_attempt_is_kept_when_none_is_right(scores, best):
    assert ended(Painter(scores), options())[1] == [(best, 3)]


def test_one_attempt_is_the_end_of_it():
    painter = Painter({})
    assert ended(painter, options(max_attempts=1))[1] == [(10, 1)]


def test_each_variant_is_judged_by_itself_and_no_seed_is_used_twice():
    painter = Painter({10: 0.1, 11: 0.9, 12: 0.1, 15: 0.9})
    assert ended(painter, options(num_images=3))[1] == [(10, 3), (11, 1), (15, 2)]
    assert painter.painted == [[10, 11, 12], [13, 15], [16]]


def test_seeds_start_anew_after_the_last():
    painter = Painter({})
    ended(painter, options(seed=MAX_SEED))
    assert painter.painted == [[MAX_SEED], [0], [1]]


def test_what_nobody_can_see_is_painted_once():
    painter = Painter(None)
    assert ended(painter, options())[1] == [(10, 1)]


def test_an_attempt_that_would_end_after_the_deadline_is_not_begun(monkeypatch):
    now = iter([0.0, 7.0, 7.0, 10.0])  # the first attempt takes 7 s, the second 3
    monkeypatch.setattr(attempts.time, "monotonic", lambda: next(now))
    asked = []
    painter = Painter({})
    assert ended(painter, options(), lambda seconds: asked.append(seconds) or len(asked) == 1)[1] == [(10, 2)]
    assert asked == [7.0, 7.0]


@pytest.mark.parametrize(("deadline", "enough"), [(math.inf, True), (100.0, False), (1e9, True)])
def test_a_caller_knows_whether_there_is_time(monkeypatch, deadline, enough):
    caller = Caller.__new__(Caller)
    caller.deadline = deadline
    monkeypatch.setattr("serving.steps.bls.time.monotonic", lambda: 99.0)
    assert caller.in_time(2.0) is enough


@pytest.mark.parametrize("fault", ["overloaded", "internal", "restarting"])
def test_a_later_attempt_that_fails_leaves_the_first(fault):
    assert ended(Painter({10: 0.2}, fails=fault), options())[1] == [(10, 1)]


def test_nobody_gets_a_picture_who_has_left():
    with pytest.raises(EditError, match="cancelled"):
        ended(Painter({}, fails="cancelled"), options())
