"""The figures of `edit_score` and of automatic tries, on edits whose outcome is known."""

import io
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from recast.errors import ObjectNotFound

from benchmarks.quality.cases import Case, cases
from benchmarks.quality.figures import Tally
from benchmarks.quality.second_look import Outcome, SecondLook, half_hidden, summarise, wish
from benchmarks.sheet import Entry, below, full_size
from export.demo import world
from export.demo.judge import Verdict


@cache
def held_out() -> tuple[Case, ...]:
    """Drawn small, to be quick."""
    return tuple(
        replace(case, scene=world.draw(case.plan, (240, round(240 / case.plan.aspect))))
        for case in cases(world.HELD_OUT, 3)
    )


def figures(outcomes: list[Outcome]) -> dict[str, float]:
    tally = Tally()
    summarise(outcomes, tally)
    return {name.removeprefix("edit_score, "): figure["value"] for name, figure in tally.figures().items()}


def test_a_score_that_knows_gets_the_perfect_figure():
    known = [Outcome(0.9, True, True), Outcome(0.8, True, True), Outcome(0.1, False, True, attempts=2)]
    assert figures(known) == {
        "area under the curve": 1,
        "wrong after automatic tries over before": 0,
        "right edits tried again": 0,
        "server could look": 1,
    }


def test_a_score_that_knows_nothing_gets_the_bad_figure():
    blind = [Outcome(0.5, True, True, attempts=3), Outcome(0.5, False, False), Outcome(None, False, False)]
    told = figures(blind)
    assert told["area under the curve"] == 0.5
    assert told["wrong after automatic tries over before"] == 1
    assert told["right edits tried again"] == 1
    assert told["server could look"] == pytest.approx(2 / 3, abs=1e-4)


def test_edits_that_were_given_one_attempt_tell_nothing_of_the_others():
    told = figures([Outcome(0.9, True, True), Outcome(0.2, False)])
    assert told["area under the curve"] == 1
    assert "wrong after automatic tries over before" not in told
    assert "area under the curve" not in figures([Outcome(0.9, True, True)])


@pytest.mark.parametrize("intent", ["replace", "recolour", "remove"])
def test_a_wish_has_come_true_when_the_judge_sees_it(intent):
    case = held_out()[0]
    wanted = wish(case, intent)
    assert case.name in wanted.prompt
    assert (wanted.kind is None) == (intent == "remove")
    assert (wanted.kind == case.thing.kind) == (intent == "recolour")
    boxes = []

    def judged(kind: str | None, colour: str) -> bool:
        def judge(image: np.ndarray, box: tuple[int, int, int, int]) -> Verdict:
            boxes.append(box)
            return Verdict(kind, colour)

        return wanted.come_true(judge, case.scene.image)

    assert judged(wanted.kind, wanted.colour)
    assert not judged("car" if wanted.kind != "car" else "cat", wanted.colour)
    assert judged(wanted.kind, "no colour") == (intent == "remove")
    assert set(boxes) == {case.place if intent == "replace" else case.thing.box}


def test_a_thing_is_half_hidden_by_another():
    hidden = [each for each in map(half_hidden, held_out()) if each]
    assert hidden
    for case in hidden:
        alone = world.draw(case.plan.without(1), case.size).things[0]
        assert 0.2 * alone.mask.sum() < case.thing.mask.sum() < 0.9 * alone.mask.sum()
        assert case.name == case.thing.kind != case.scene.things[1].kind


@dataclass
class Answer:
    """An edit that leaves the picture as it is."""

    picture: Image.Image
    edit_score: float
    attempts: int

    @property
    def mask(self) -> Image.Image:
        return Image.new("L", self.picture.size)


@dataclass
class Server:
    """In place of a client: each edit's score falls short until the attempt `needs`; notes what it is asked."""

    needs: int = 1
    asked: list[dict] = field(default_factory=list)

    def replace(self, image, prompt, *, max_attempts: int = 3, **options):
        self.asked.append({"prompt": prompt, "max_attempts": max_attempts, **options})
        if "absent" in prompt:
            raise ObjectNotFound("object_not_found: nothing like it.")
        attempts = min(self.needs, max_attempts)
        return Answer(image, 1.0 if attempts == self.needs else 0.2, attempts)

    def mask(self, image, target, *, intent):
        return SimpleNamespace(mask_png=b"mask", object_mask_png=b"outline", report={"releases": {"mask": 1}})


def sees(kind: str | None, colour: str = "red"):
    return lambda image, box: Verdict(kind, colour)


def test_an_edit_that_was_right_at_once_is_asked_for_once():
    server = Server()
    outcome = SecondLook(server, None, sees(None)).served(wish(held_out()[0], "remove"))
    assert outcome == Outcome(1.0, True, True, 1)
    assert len(server.asked) == 1


def test_of_an_edit_that_was_tried_again_the_first_attempt_is_scored():
    server, options = Server(needs=2), {"num_inference_steps": 2}
    outcome = SecondLook(server, None, sees("car")).served(wish(held_out()[0], "remove"), **options)
    assert outcome == Outcome(0.2, False, False, 2)
    assert [each["max_attempts"] for each in server.asked] == [3, 1]
    assert all(each["num_inference_steps"] == 2 for each in server.asked)
    assert len({each["seed"] for each in server.asked}) == 1


def test_a_refused_edit_is_no_outcome():
    case = held_out()[0]
    absent = Case(case.plan, case.scene, case.index, "absent thing")
    assert SecondLook(Server(), None, sees(None)).served(wish(absent, "remove")) is None


def test_the_inpaint_step_is_told_of_another_wish_than_it_draws():
    case, sent = held_out()[0], {}
    after = io.BytesIO()
    Image.fromarray(case.scene.image // 2).save(after, "PNG")
    values = {
        "edited_image": np.array([[after.getvalue()]], object),
        "blended_mask": np.array([[after.getvalue()]], object),
        "edit_score": np.array([[-1]], np.float32),
    }

    class Triton:
        def infer(self, model, inputs):
            sent.update({tensor.name(): tensor for tensor in inputs}, model=model)
            return SimpleNamespace(as_numpy=values.__getitem__)

    look = SecondLook(Server(), Triton(), sees("boat"))
    assert look.miscaptioned(wish(case, "remove"), "a red boat") == Outcome(None, False)
    assert sent.pop("model") == "inpaint"
    assert {"caption", "intent", "target", "mask_report", "seed", "max_attempts"} < set(sent)


def test_every_edit_of_a_case_is_made_that_can_be_judged():
    case = held_out()[0]

    def asked(judge) -> list[str]:
        server = Server()
        for job in SecondLook(server, None, judge).jobs(case):
            if job.func.__name__ != "miscaptioned":
                job()
        return [each["prompt"].split()[0] for each in server.asked]

    assert asked(sees(None)) == ["Remove"] * 3
    assert asked(sees("no kind")) == []
    recoloured = wish(case, "recolour")
    assert asked(sees(recoloured.kind, recoloured.colour)) == ["Make"]
    new = wish(case, "replace")
    assert asked(sees(new.kind, new.colour))[:3] == ["Replace"] * 3


def test_edits_are_shown_at_full_size():
    one, other = (np.full((40, 60, 3), value, np.uint8) for value in (10, 200))
    pair = full_size(Entry(one, other, "make it bright"))
    height = pair.height - 40
    assert pair.width == 124
    assert (np.asarray(pair)[height:, :60] == one).all()
    assert (np.asarray(pair)[height:, -60:] == other).all()
    assert below([pair, pair]).size == (124, 2 * pair.height)
