"""The figures of `make quality` on edits whose value is known: a perfect one, one that does nothing, wrong ones."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageColor
from recast.errors import ObjectNotFound

from benchmarks.quality import edits, measures
from benchmarks.quality.cases import Case, cases
from benchmarks.quality.delta_e import colour_difference, delta_e_2000
from benchmarks.quality.edits import Trial
from benchmarks.quality.figures import Figure, Tally, summary, table
from benchmarks.quality.truth import Truth, luminance
from export.demo import world
from export.demo.judge import Verdict

# Sharma, Wu and Dalal 2005, table 1: L, a, b of two colours, and their difference
PUBLISHED = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.02 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.49 -0.001 50 -2.49 0.0009 7.1792
50 2.49 -0.001 50 -2.49 0.0010 7.1792
50 2.49 -0.001 50 -2.49 0.0011 7.2195
50 2.49 -0.001 50 -2.49 0.0012 7.2195
50 -0.001 2.49 50 0.0009 -2.49 4.8045
50 -0.001 2.49 50 0.0010 -2.49 4.8045
50 -0.001 2.49 50 0.0011 -2.49 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def test_colour_differences_are_the_published_ones():
    pairs = np.array([line.split() for line in PUBLISHED.split("\n")[1:-1]], np.float64)
    assert len(pairs) == 34
    for a, b in ((pairs[:, :3], pairs[:, 3:6]), (pairs[:, 3:6], pairs[:, :3])):
        np.testing.assert_allclose(delta_e_2000(a, b), pairs[:, 6], atol=6e-5)


def test_colours_as_pixels_differ_as_people_see_them():
    white, black, grey, greyer = (np.full((1, 3), value, np.uint8) for value in (255, 0, 128, 130))
    assert colour_difference(white, white) == 0
    assert colour_difference(white, black) == pytest.approx(100, abs=0.01)
    assert 0.5 < colour_difference(grey, greyer) < 1


def checks(side: int = 32) -> np.ndarray:
    """Squares of two greys, uint8 [side, side, 3]."""
    y, x = np.mgrid[:side, :side]
    return np.where((y // 4 + x // 4)[..., None] % 2, 160, 96).astype(np.uint8).repeat(3, axis=2)


ALL = np.ones((32, 32), bool)


def test_psnr_is_that_of_the_region_alone():
    one = checks()
    other = one.copy()
    other[:16] += 10
    below = np.arange(32)[:, None].repeat(32, axis=1) >= 16
    assert measures.psnr(one, other, ~below) == pytest.approx(20 * np.log10(25.5))
    assert measures.psnr(one, other, below) == measures.psnr(one, one, ALL) == pytest.approx(58.92, abs=0.01)


def test_gradients_correlate_when_the_structure_is_kept():
    one = checks()
    assert measures.gradient_correlation(one, one, ALL) == pytest.approx(1)
    assert measures.gradient_correlation(one, (one // 2 + 40).astype(np.uint8), ALL) == pytest.approx(1, abs=1e-3)
    assert measures.gradient_correlation(one, 255 - one, ALL) == pytest.approx(-1)
    moved = np.roll(one, 2, axis=(0, 1))
    assert abs(measures.gradient_correlation(one, moved, ALL)) < 0.35
    assert measures.gradient_correlation(one, np.full_like(one, 128), ALL) == 0


def test_sharpness_follows_the_steepest_edges():
    one = checks()
    flat = ((one.astype(int) + 128) // 2).astype(np.uint8)
    assert measures.sharpness(one, one, ALL) == 1
    assert measures.sharpness(flat, one, ALL) == pytest.approx(0.5, abs=0.01)


def test_a_shadow_is_counted_by_its_energy():
    empty = np.full((8, 8, 3), 200, np.uint8)
    shadow = np.zeros((8, 8), np.float32)
    shadow[2:4] = 40
    shaded = (empty - shadow[..., None]).astype(np.uint8)
    half = (empty - shadow[..., None] / 2).astype(np.uint8)
    assert measures.shadow_left(shaded, empty, shadow) == pytest.approx(1, abs=1e-3)
    assert measures.shadow_left(half, empty, shadow) == pytest.approx(0.25, abs=1e-3)
    assert measures.shadow_left(empty + 9, empty, shadow) == 0
    elsewhere = empty.copy()
    elsewhere[6:] = 0
    assert measures.shadow_left(elsewhere, empty, shadow) == 0


def test_the_area_under_the_curve():
    assert measures.area_under_curve([0.8, 0.9], [0.1, 0.7]) == 1
    assert measures.area_under_curve([0.1, 0.7], [0.8, 0.9]) == 0
    assert measures.area_under_curve([0.5, 0.5], [0.5]) == 0.5
    assert measures.area_under_curve([0.2, 0.6], [0.4]) == 0.5


@cache
def held_out() -> tuple[Case, ...]:
    """Three cases, drawn small to be quick; a lamp, a ball and a chair; of the chair all is paint."""
    return tuple(
        replace(case, scene=world.draw(case.plan, (240, round(240 / case.plan.aspect))))
        for case in cases(world.HELD_OUT, 3)
    )


@cache
def truth(n: int) -> Truth:
    return Truth(held_out()[n])


def test_scenes_that_training_saw_are_refused():
    with pytest.raises(SystemExit, match="training"):
        next(iter(cases(0, 1)))


@pytest.mark.parametrize("n", range(3))
def test_the_truth_differs_from_the_scene_where_the_edit_is(n):
    case, true = held_out()[n], truth(n)
    image, seen = case.scene.image, case.thing.mask > 0
    assert true.repainted(case.plan.things[case.index].paint).tobytes() == image.tobytes()
    other = true.repainted((90, 200, 120))
    assert (other[~seen] == image[~seen]).all()
    assert not (true.paint & true.fixed).any()
    assert (other == image)[true.fixed].all()
    assert (other[true.paint] != image[true.paint]).any(-1).mean() > 0.9
    assert true.paint.sum() > 0.2 * seen.sum()
    assert not true.shadow[seen].any()
    assert true.shadow.max() > 10
    assert (luminance(image)[true.shadow > 4] < luminance(true.emptied)[true.shadow > 4]).all()


def test_what_is_not_paint_is_known():
    assert [case.thing.kind for case in held_out()] == ["lamp", "ball", "chair"]
    assert [truth(n).fixed.sum() > 50 for n in range(3)] == [True, True, False]


@pytest.mark.parametrize("n", range(3))
def test_another_thing_stands_where_the_old_one_stood(n):
    case, true = held_out()[n], truth(n)
    kind = next(kind for kind in world.KINDS if kind != case.thing.kind)
    image, thing = true.replaced(kind, (200, 40, 40))
    assert thing.kind == kind
    foot, old_foot = thing.box[3], case.plan.things[case.index].box[3] * case.size[1]
    assert abs(foot - old_foot) < 0.06 * case.size[1]
    corners = true.corners(kind)
    assert corners.sum() > 20
    assert (case.scene.image == true.emptied)[corners].all()
    assert (image == true.emptied)[corners].all()


class Server:
    """In place of a client: answers each prompt, "intent|wanted", with the picture that `paint` makes of both."""

    def __init__(self, paint):
        self.paint = paint

    def replace(self, image, prompt, **options):
        before = np.asarray(image)
        after = self.paint(*prompt.split("|"))
        if after is None:
            raise ObjectNotFound("object_not_found: nothing like it.")
        mask = (after != before).any(-1)
        return Answer(Image.fromarray(after), Image.fromarray(mask.astype(np.uint8) * 255))


@dataclass
class Answer:
    picture: Image.Image
    mask: Image.Image
    parse_score: float = 1.0
    mask_score: float = 1.0
    edit_score: float | None = None
    attempts: int = 1


def measured(monkeypatch, n: int, paint, verdict: Verdict) -> dict[str, float]:
    """Every figure of the edits of case `n` that `paint` answers."""

    def plainly(rng, target, replacement, *, intent):
        return f"{intent}|{replacement}", None

    monkeypatch.setattr(edits.sentences, "edit_sentence", plainly)
    monkeypatch.setattr(edits, "LEAST_PX", 20)
    tally = Tally()
    trial = Trial(Server(paint), lambda image, box: verdict, tally)
    for way in (trial.replace, trial.recolour, trial.recolour_exactly, trial.remove):
        way(truth(n))
    return {name: figure["value"] for name, figure in tally.figures().items()}


@pytest.mark.parametrize("n", range(3))
def test_a_perfect_edit_gets_the_perfect_figure(monkeypatch, n):
    def perfect(intent: str, wanted: str) -> np.ndarray:
        if intent == "remove":
            return truth(n).emptied
        if intent == "recolour":
            paint = ImageColor.getrgb(wanted) if wanted.startswith("#") else world.PAINTS[wanted]
            return truth(n).repainted(paint)
        colour, kind = wanted.split()
        return truth(n).replaced(kind, world.PAINTS[colour])[0]

    figures = measured(monkeypatch, n, perfect, Verdict(None, "red"))
    for name, value in figures.items():
        if "PSNR" in name:
            assert value == pytest.approx(58.9, abs=0.1), name
        elif "ΔE2000" in name or "shadow" in name:
            assert value == pytest.approx(0, abs=0.01), name
        elif "kind" not in name and "colour" not in name.partition(",")[2]:
            assert value == pytest.approx(1), name
    assert ("recolour, parts that are not paint: ΔE2000" in figures) == (n < 2)


@pytest.mark.parametrize("refused", [False, True])
def test_an_edit_that_does_nothing_gets_a_bad_figure(monkeypatch, refused):
    case = held_out()[0]
    figures = measured(
        monkeypatch, 0, lambda *_: None if refused else case.scene.image, Verdict(case.thing.kind, case.thing.colour)
    )
    assert figures["edit answered"] == (not refused)
    assert figures["replace, asked kind"] == figures["replace, asked colour"] == 0
    assert figures["replace, old kind seen"] == figures["recolour, same kind"] == 1
    assert figures["recolour, asked colour"] == figures["remove, no object seen"] == 0
    assert figures["recolour, PSNR to the truth, object + 3 px, dB"] < 20
    assert figures["recolour to #RRGGBB, paint: ΔE2000"] > 10
    assert figures["remove, PSNR to the truth in the mask, dB"] < 20
    assert figures["remove, shadow left"] == pytest.approx(1)


def test_a_background_that_is_not_the_old_one_is_seen(monkeypatch):
    case = held_out()[0]
    figures = measured(monkeypatch, 0, lambda *_: case.scene.image // 2 + 60, Verdict(None, "red"))
    assert figures["replace, background in the corners: PSNR, dB"] < 30
    assert figures["replace, background in the corners: share that is exact"] < 0.1
    assert figures["replace, sharpness against a true render"] < 0.9
    assert figures["recolour, parts that are not paint: ΔE2000"] > 5


def test_the_table_says_how_the_values_spread():
    falling, rising = Figure("a", 0.5, 0.9), Figure("b", 2, at_most=True)
    values = [float(n) for n in range(11)]
    assert summary(falling, values) == {"value": 5, "median": 5, "worst tenth": 1, "count": 11}
    assert summary(rising, values)["worst tenth"] == 9
    assert summary(Figure("c", share=True), [1, 0]) == {"value": 0.5, "count": 2}
    tally = Tally()
    for value in (1, 2):
        tally.add("remove, shadow left", value)
    tally.add("parse right", True)
    with pytest.raises(KeyError):
        tally.add("parse wrong", True)
    assert table(tally.figures()).splitlines()[2:] == [
        "| parse right | 1.000 |  |  | ≥ 0.98 |  | 1 |",
        "| remove, shadow left | 1.500 | 1.500 | 1.900 | ≤ 0.05 | ≤ 0.01 | 2 |",
    ]


def test_a_shown_edit_says_what_the_server_thinks_of_it():
    picture = Image.new("RGB", (4, 4))
    assert edits.scores(Answer(picture, picture)) == "parse 1.00, mask 1.00, edit not looked at"
    doubtful = Answer(picture, picture, edit_score=0.25, attempts=3)
    assert edits.scores(doubtful) == "parse 1.00, mask 1.00, edit 0.25 in 3 attempts"
