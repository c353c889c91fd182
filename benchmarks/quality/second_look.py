"""Does the server know whether an edit worked? `edit_score` and its further attempts against the judge's word.

Edits are asked for as they are meant to be, and so that they go wrong: in two denoising steps at a guidance that
overdoes it, at a place that another thing half hides, and with the caption of a thing where nothing shall be. Where the
judge would call the true picture wrong, nothing is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from recast import Client
from recast.errors import NotAnEdit, ObjectNotFound
from recast.results import Edit
from tritonclient.grpc import InferenceServerClient

from benchmarks.quality.cases import LEAST_COVER, Case
from benchmarks.quality.figures import Tally
from benchmarks.quality.inpaint_call import Repaint, repainted
from benchmarks.quality.measures import area_under_curve
from benchmarks.quality.truth import Truth
from export.demo import world
from export.demo.judge import Judge

HASTY = {"num_inference_steps": 2, "guidance_scale": 30.0}
"""Spoils one replacement in three and most removals, from whatever seed: one attempt tells all."""
QUICK = {"num_inference_steps": 1}
"""Spoils one edit in twelve, another from another seed."""


@dataclass(frozen=True)
class Wish:
    """An edit of `case`, and what the judge must see afterwards: nothing, where `kind` is None."""

    case: Case
    intent: str
    kind: str | None
    colour: str

    @property
    def prompt(self) -> str:
        name = self.case.name
        sentences = {
            "replace": f"Replace the {name} with a {self.colour} {self.kind}",
            "recolour": f"Make the {name} {self.colour}",
            "remove": f"Remove the {name}",
        }
        return sentences[self.intent]

    def come_true(self, judge: Judge, after: np.ndarray) -> bool:
        """Whether the judge sees it in `after`, uint8 [H, W, 3]."""
        verdict = judge(after, self.case.place if self.intent == "replace" else self.case.thing.box)
        return verdict.kind == self.kind and (self.kind is None or verdict.colour == self.colour)

    def can_be_judged(self, judge: Judge) -> bool:
        """Whether the judge knows the true picture as what was asked for: not where another thing is in its view."""
        truth = Truth(self.case)
        if self.intent == "remove":
            picture = truth.emptied
        elif self.intent == "recolour":
            picture = truth.repainted(world.PAINTS[self.colour])
        else:
            picture, _ = truth.replaced(str(self.kind), world.PAINTS[self.colour])
        return self.come_true(judge, picture)


@dataclass(frozen=True)
class Outcome:
    """An edit's score at the first attempt, None where the server could not look, and whether it was right.

    `right_at_last` is so after all attempts that the server made of itself; None where it was given one alone.
    """

    score: float | None
    right: bool
    right_at_last: bool | None = None
    attempts: int = 1


def wish(case: Case, intent: str) -> Wish:
    """What is asked for, drawn from the scene's seed."""
    rng = random.Random(f"{case.seed} {intent} score")
    kinds = {"replace": rng.choice([kind for kind in world.KINDS if kind != case.thing.kind]), "remove": None}
    colour = rng.choice([colour for colour in world.COLOURS if colour != case.thing.colour])
    return Wish(case, intent, kinds.get(intent, case.thing.kind), colour)


def half_hidden(case: Case) -> Case | None:
    """The thing alone, another one before its left or right half; None where too little of it is seen."""
    rng = np.random.default_rng([case.seed, 7])
    old = case.plan.things[case.index]
    kind = str(rng.choice([kind for kind in world.KINDS if kind != old.kind]))
    colour = str(rng.choice(world.COLOURS))
    x0, y0, x1, y1 = old.box
    across, down = float(rng.choice([-0.5, 0.5])) * (x1 - x0), 0.03
    front = replace(old, kind=kind, colour=colour, paint=world.vary(rng, colour),
                    box=(x0 + across, y0 + down, x1 + across, y1 + down))  # fmt: skip
    plan = replace(case.plan, things=(old, front))
    scene = world.draw(plan, case.size)
    return Case(plan, scene, 0, old.kind) if scene.things[0].mask.sum() > LEAST_COVER else None


class SecondLook:
    """Asks for the edits; `triton` reaches the `inpaint` step, to which another caption can be given."""

    def __init__(self, client: Client, triton: InferenceServerClient, judge: Judge):
        self.client, self.triton, self.judge = client, triton, judge

    def served(self, wanted: Wish, **options: Any) -> Outcome | None:
        """By the whole chain, with the attempts that it makes of itself; None where it refuses."""
        try:
            last = self._ask(wanted, **options)
            first = last if last.attempts == 1 else self._ask(wanted, **options, max_attempts=1)
        except (NotAnEdit, ObjectNotFound):
            return None
        right, at_last = (wanted.come_true(self.judge, np.asarray(edit.picture)) for edit in (first, last))
        return Outcome(first.edit_score, right, at_last, last.attempts)

    def once(self, wanted: Wish, **options: Any) -> Outcome | None:
        """By the whole chain, one attempt; None where it refuses."""
        outcome = self.served(wanted, **options, max_attempts=1)
        return None if outcome is None else replace(outcome, right_at_last=None)

    def miscaptioned(self, wanted: Wish, caption: str) -> Outcome | None:
        """A removal by the `inpaint` step, which draws `caption` instead; None where nothing is found."""
        case = wanted.case
        try:
            found = self.client.mask(Image.fromarray(case.scene.image), case.name, intent=wanted.intent)
        except ObjectNotFound:
            return None
        repaint = Repaint(case.scene.image, found, caption, wanted.intent, case.name, case.seed)
        after, score = repainted(self.triton, repaint)
        return Outcome(score, wanted.come_true(self.judge, after))

    def jobs(self, case: Case) -> Iterator[Callable[[], Outcome | None]]:
        """Every edit of a case of which the judge can tell whether it is right."""
        wishes = [wish(case, intent) for intent in ("replace", "recolour", "remove")]
        for wanted in filter(self._can_be_judged, wishes):
            yield partial(self.served, wanted)
            if wanted.intent != "recolour":
                yield partial(self.served, wanted, **QUICK)
                yield partial(self.once, wanted, **HASTY)
            if wanted.intent == "remove":
                yield partial(self.miscaptioned, wanted, f"a {wishes[0].colour} {wishes[0].kind}")
        hidden = half_hidden(case)
        if hidden and self._can_be_judged(wish(hidden, "replace")):
            yield partial(self.served, wish(hidden, "replace"))

    def _can_be_judged(self, wanted: Wish) -> bool:
        return wanted.can_be_judged(self.judge)

    def _ask(self, wanted: Wish, **options: Any) -> Edit:
        case = wanted.case
        return self.client.replace(Image.fromarray(case.scene.image), wanted.prompt, seed=case.seed, **options)


def measure_scores(look: SecondLook, tally: Tally, chosen: list[Case]) -> None:
    """Adds the figures of all edits of the cases."""
    with ThreadPoolExecutor(4) as pool:
        outcomes = [
            outcome
            for case in chosen
            for outcome in pool.map(lambda job: job(), look.jobs(case))
            if outcome is not None
        ]
    summarise(outcomes, tally)


def summarise(outcomes: list[Outcome], tally: Tally) -> None:
    """A figure that nothing tells of, because no edit is wrong, is left out."""
    scored = [(outcome.score, outcome.right) for outcome in outcomes if outcome.score is not None]
    right, wrong = ([score for score, was_right in scored if was_right == wanted] for wanted in (True, False))
    for outcome in outcomes:
        tally.add("edit_score, server could look", outcome.score is not None)
    if right and wrong:
        tally.put("edit_score, area under the curve", area_under_curve(right, wrong), count=len(wrong))
    tried = [outcome for outcome in outcomes if outcome.right_at_last is not None]
    before = sum(not outcome.right for outcome in tried)
    if before:
        after = sum(not outcome.right_at_last for outcome in tried)
        tally.put("edit_score, wrong after automatic tries over before", after / before, count=before)
    for outcome in tried:
        if outcome.right:
            tally.add("edit_score, right edits tried again", outcome.attempts > 1)
