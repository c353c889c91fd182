"""The edits that are asked for, and what each is measured by."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image
from recast import Client
from recast.errors import NotAnEdit, ObjectNotFound
from recast.results import Edit

from benchmarks.quality import measures
from benchmarks.quality.cases import Case
from benchmarks.quality.delta_e import colour_difference
from benchmarks.quality.figures import Tally
from benchmarks.quality.truth import Truth
from benchmarks.sheet import Entry
from export.demo import sentences, world
from export.demo.judge import Judge
from serving.imaging.morphology import dilate

LEAST_PX = 50
"""A region of fewer px is not measured."""


@dataclass(frozen=True)
class Done:
    """An edit that was asked for: the picture after it, uint8 [H, W, 3], and the mask, uint8 [H, W].

    A refused one leaves the picture as it was, its mask empty, and is measured as that.
    """

    after: np.ndarray
    mask: np.ndarray
    entry: Entry


class Trial:
    """Asks for edits and adds to `tally` what it measures by their truth; each returns what a contact sheet shows."""

    def __init__(self, client: Client, judge: Judge, tally: Tally):
        self.client, self.judge, self.tally = client, judge, tally

    def replace(self, truth: Truth) -> Entry:
        case = truth.case
        rng = random.Random(f"{case.seed} replace")
        kind = rng.choice([kind for kind in world.KINDS if kind != case.thing.kind])
        colour = rng.choice([colour for colour in world.COLOURS if colour != case.thing.colour])
        done = self._ask(case, "replace", f"{colour} {kind}", rng)
        verdict = self.judge(done.after, case.place)
        self.tally.add("replace, asked kind", verdict.kind == kind)
        self.tally.add("replace, asked colour", verdict.colour == colour)
        self.tally.add("replace, old kind seen", verdict.kind == case.thing.kind)
        wanted, thing = truth.replaced(kind, world.PAINTS[colour])
        corners = truth.corners(kind)
        if corners.sum() >= LEAST_PX:
            exact = (done.after == truth.emptied).all(-1)[corners].mean()
            corner = "replace, background in the corners"
            self.tally.add(f"{corner}: PSNR, dB", measures.psnr(done.after, truth.emptied, corners))
            self.tally.add(f"{corner}: share that is exact", exact)
        region = np.zeros(corners.shape, bool)
        x0, y0, x1, y1 = thing.box
        region[y0:y1, x0:x1] = True
        if region.sum() >= LEAST_PX:
            sharp = measures.sharpness(done.after, wanted, region)
            self.tally.add("replace, sharpness against a true render", sharp)
        return done.entry

    def recolour(self, truth: Truth) -> Entry:
        case = truth.case
        rng = random.Random(f"{case.seed} recolour")
        colour = rng.choice([colour for colour in world.COLOURS if colour != case.thing.colour])
        done = self._ask(case, "recolour", colour, rng)
        verdict = self.judge(done.after, case.thing.box)
        self.tally.add("recolour, same kind", verdict.kind == case.thing.kind)
        self.tally.add("recolour, asked colour", verdict.colour == colour)
        wanted, thing = truth.repainted(world.PAINTS[colour]), case.thing.mask > 127
        alike = measures.gradient_correlation(done.after, wanted, thing)
        self.tally.add("recolour, gradient correlation with the truth", alike)
        near = measures.psnr(done.after, wanted, dilate(thing, 3))
        self.tally.add("recolour, PSNR to the truth, object + 3 px, dB", near)
        if truth.fixed.sum() >= LEAST_PX:
            moved = colour_difference(done.after[truth.fixed], case.scene.image[truth.fixed])
            self.tally.add("recolour, parts that are not paint: ΔE2000", float(moved.mean()))
        return done.entry

    def recolour_exactly(self, truth: Truth) -> Entry:
        """To a colour that is written as #RRGGBB."""
        case = truth.case
        rng = random.Random(f"{case.seed} #RRGGBB")
        red, green, blue = (rng.randint(24, 248) for _ in range(3))
        done = self._ask(case, "recolour", f"#{red:02X}{green:02X}{blue:02X}", rng)
        if truth.paint.sum() >= LEAST_PX:
            wanted = truth.repainted((red, green, blue))
            away = colour_difference(done.after[truth.paint], wanted[truth.paint])
            self.tally.add("recolour to #RRGGBB, paint: ΔE2000", float(away.mean()))
        return done.entry

    def remove(self, truth: Truth) -> Entry:
        case = truth.case
        done = self._ask(case, "remove", "", random.Random(f"{case.seed} remove"))
        self.tally.add("remove, no object seen", self.judge(done.after, case.thing.box).kind is None)
        region = (done.mask > 0) | truth.traces
        self.tally.add("remove, PSNR to the truth in the mask, dB", measures.psnr(done.after, truth.emptied, region))
        if (truth.shadow > 2).sum() >= LEAST_PX:
            left = measures.shadow_left(done.after, truth.emptied, truth.shadow)
            self.tally.add("remove, shadow left", left)
        return done.entry

    def _ask(self, case: Case, intent: str, wanted: str, rng: random.Random) -> Done:
        before = case.scene.image
        prompt, _ = sentences.edit_sentence(rng, case.name, wanted, intent=intent)
        try:
            edit = self.client.replace(Image.fromarray(before), prompt, seed=case.seed)
        except (NotAnEdit, ObjectNotFound) as error:
            self.tally.add("edit answered", False)
            return Done(before, np.zeros(before.shape[:2], np.uint8), Entry(before, before, f"{prompt} | {error}"))
        after, mask = np.asarray(edit.picture), np.asarray(edit.mask)
        self.tally.add("edit answered", True)
        self.tally.add("background untouched", bool((after[mask == 0] == before[mask == 0]).all()))
        return Done(after, mask, Entry(before, after, f"{prompt} | {scores(edit)}"))


def scores(edit: Edit) -> str:
    """Such as "parse 1.00, mask 0.93, edit 0.98 in 2 attempts"."""
    seen = "not looked at" if edit.edit_score is None else f"{edit.edit_score:.2f}"
    tries = f" in {edit.attempts} attempts" if edit.attempts > 1 else ""
    return f"parse {edit.parse_score:.2f}, mask {edit.mask_score:.2f}, edit {seen}{tries}"
