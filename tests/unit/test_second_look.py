"""What the second look says of painted canvases; the segmenter is a function that knows what it shall see."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from serving.errors import EditError
from serving.imaging.composite import painted_part
from serving.imaging.crop import Canvas
from serving.language.referring import Referent
from serving.segmentation.second_look import SecondLook, Wish, clean, gone, presence
from serving.steps import second_look as step
from serving.steps.second_look import Lookers

SIDE = 128
SURE = 6.0
BLUE, RED, GREY = (45, 95, 205), (214, 40, 40), (130, 130, 130)


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


HOLE, OLD, NEW = box(30, 30, 100, 100), box(40, 40, 60, 90), box(60, 50, 90, 90)


@pytest.fixture
def canvas():
    image = np.full((SIDE, SIDE, 3), GREY, np.float32)
    image[OLD] = (245, 210, 50)
    return Canvas(image, HOLE.astype(np.float32), np.ones((SIDE, SIDE), bool))


def painted(paint=BLUE) -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), GREY, np.float32)
    image[NEW] = paint
    return image


class Masker:
    """The assets of a segmenter that sees the phrases of `seen`, each where its mask is."""

    def __init__(self, seen, knows=()):
        self.seen = seen
        self.settings = SimpleNamespace(threshold=0.5, knows=knows)
        self.calls = []

    def pixels(self, picture):
        return picture

    def tokens(self, phrases):
        self.calls.append(phrases)
        return phrases, None

    def segment(self, pixels, phrases, attention):
        nothing = np.zeros((SIDE, SIDE), bool)
        return np.stack([np.where(self.seen.get(p, nothing), SURE, -SURE) for p in phrases]).astype(np.float32)


def score(canvas, wish, seen, image):
    masker = Masker(seen)
    (sight,) = SecondLook(masker, wish, masker.segment)(canvas, OLD.astype(np.float32), [image])
    return sight


CAR_TO_BOAT = Wish.of("replace", "car", "a blue boat")


@pytest.mark.parametrize(("intent", "target", "caption", "replacement", "wish"), [
    ("replace", "car on the left", "a blue boat", "blue boat", Wish(Referent("boat", "blue", None), BLUE, "car")),
    ("replace", "car", "a boat", "", Wish(Referent("boat", None, None), None, "car")),
    ("replace", "red car", "a blue car", "", Wish(Referent("car", "blue", None), BLUE, "")),
    ("recolour", "car", "a red car", "#D62828", Wish(Referent("car", "red", None), RED, "")),
    ("remove", "the car", "empty background", "", Wish(None, None, "car")),
    ("", "car", "a boat", "", None),
    ("replace", "", "a boat", "", None),
    ("replace", "car", "a", "", None),
])  # fmt: skip
def test_a_wish_says_what_shall_be_seen(intent, target, caption, replacement, wish):
    assert Wish.of(intent, target, caption, replacement) == wish


def test_what_was_asked_for_scores_high_and_is_outlined(canvas):
    sight = score(canvas, CAR_TO_BOAT, {"boat": NEW, "blue boat": NEW}, painted())
    assert sight.score > 0.9
    np.testing.assert_array_equal(sight.thing > 0.5, NEW)


@pytest.mark.parametrize(("seen", "image"), [
    ({}, painted()),
    ({"boat": NEW}, painted(RED)),
    ({"boat": NEW, "blue boat": NEW, "car": OLD}, painted()),
    ({"boat": box(60, 50, 64, 54), "blue boat": box(60, 50, 64, 54)}, painted()),
], ids=["no boat", "a red boat", "the car still there", "a crumb of a boat"])  # fmt: skip
def test_what_was_not_asked_for_scores_low(canvas, seen, image):
    assert score(canvas, CAR_TO_BOAT, seen, image).score < 0.5


def test_what_is_not_seen_has_no_outline(canvas):
    assert score(canvas, CAR_TO_BOAT, {}, painted()).thing is None


def test_the_paint_counts_where_the_network_has_no_word_for_it(canvas):
    wish = Wish(Referent("boat", None, None), BLUE, "car")
    right, wrong = (score(canvas, wish, {"boat": NEW}, painted(paint)).score for paint in (BLUE, RED))
    assert right > 0.9 > 0.1 > wrong


def test_a_removal_is_right_when_nothing_strange_is_left(canvas):
    wish = Wish.of("remove", "car", "empty background")
    empty = np.full((SIDE, SIDE, 3), GREY, np.float32)
    assert score(canvas, wish, {}, empty).score > 0.99
    assert score(canvas, wish, {"car": OLD}, empty).score < 0.1
    assert score(canvas, wish, {}, painted()).score < 0.1


def test_a_colour_that_is_around_is_not_strange(canvas):
    picture = painted().astype(np.uint8)
    assert clean(canvas, picture, HOLE) < 0.05
    canvas.image[:20] = BLUE
    assert clean(canvas, picture, HOLE) > 0.3


def test_a_thing_is_there_by_its_probability_and_its_size():
    sure = np.where(NEW, 0.9, 0.0).astype(np.float32)
    assert presence(sure, HOLE) == pytest.approx(0.9)
    assert presence(sure * 0.5, HOLE) == pytest.approx(0.225)
    assert presence(sure, box(0, 0, 10, 10)) == 0


def test_what_the_new_thing_resembles_more_is_not_the_old_thing():
    new, likely = np.where(NEW, 0.9, 0.0), np.where(NEW, 0.6, 0.0)
    assert gone(likely, new, NEW, HOLE) == 1
    assert gone(new, likely, NEW, HOLE) < 0.01


def test_what_lies_outside_the_hole_has_not_gone():
    nothing = np.zeros((SIDE, SIDE), np.float32)
    assert gone(nothing, nothing, OLD, HOLE) == 1
    assert gone(nothing, nothing, OLD, box(40, 40, 50, 90)) < 0.05


def test_only_the_things_and_their_shadows_are_painted(canvas):
    shadow = box(42, 90, 58, 96)
    canvas.image[shadow] *= 0.7
    generated = painted() + np.random.default_rng(1).normal(0, 4, canvas.image.shape).astype(np.float32)
    generated[90:96, 62:88] *= 0.7
    part = painted_part(generated, canvas, (OLD | shadow).astype(np.float32), NEW.astype(np.float32))
    assert part[OLD | NEW].min() > 0.85
    assert part[box(43, 90, 57, 95) | box(63, 90, 87, 95)].min() > 0.85
    assert part[30:34, 64:100].max() == 0
    assert part[:, 98:].max() == 0


def test_what_the_outline_missed_of_a_thing_is_painted_too(canvas):
    generated = painted()
    ear = box(70, 46, 74, 50)
    generated[ear] = BLUE
    assert painted_part(generated, canvas, OLD.astype(np.float32), NEW.astype(np.float32))[ear].min() > 0.85


def test_of_an_old_thing_only_crumbs_are_missed(canvas):
    nothing = np.zeros((SIDE, SIDE), np.float32)
    generated = canvas.image.copy()
    generated[OLD] = canvas.image[0, 0]
    x = int(np.flatnonzero(OLD.any(axis=0))[-1]) + 1
    y = int(np.flatnonzero(OLD.any(axis=1))[0])
    crumb, drawn_elsewhere = box(x, y, x + 3, y + 3), box(x, y + 20, x + 15, y + 24)
    generated[crumb | drawn_elsewhere] += 90
    part = painted_part(generated, canvas, OLD.astype(np.float32), nothing)
    assert part[OLD].min() > 0.85
    assert part[crumb].mean() > 0.8
    assert part[box(x + 6, y + 20, x + 15, y + 24)].max() < 0.1


class Calls:
    """A `Caller` of a segmenter that sees a boat, or fails."""

    def __init__(self, error=None):
        self.error, self.called = error, []

    def infer(self, model, inputs, outputs, *, version):
        self.called.append((model, version))
        if self.error:
            raise EditError(self.error, "…")
        seen = Masker({"boat": NEW, "blue boat": NEW})
        return {"logits": seen.segment(inputs["pixel_values"], inputs["input_ids"], None)}


@pytest.fixture
def ask(tmp_path, monkeypatch, canvas):
    """Looks at a good edit, with the assets of releases 1 and 2."""

    def read(folder):
        if folder.name not in ("1", "2"):
            raise FileNotFoundError(folder)
        assert folder.parent == tmp_path / "mask"
        return Masker({}, knows=("car", "boat"))

    monkeypatch.setattr(step, "Masker", read)
    return partial(Lookers(tmp_path).look, canvas=canvas, old=OLD.astype(np.float32), images=[painted()])


def test_the_release_that_found_the_object_looks(ask):
    calls = Calls()
    (sight,) = ask({"releases": {"parse": 3, "mask": 2}}, CAR_TO_BOAT, calls)
    assert sight.score > 0.9
    assert calls.called == [("segmenter", 2)]


@pytest.mark.parametrize("report", [
    {}, {"releases": {}}, {"releases": {"mask": 3}}, {"releases": {"mask": "../mask/1"}}, {"releases": {"mask": True}},
    {"releases": {"mask": None}}, {"releases": {"mask": -1}},
], ids=str)  # fmt: skip
def test_nobody_looks_without_a_release(ask, report):
    calls = Calls()
    assert ask(report, CAR_TO_BOAT, calls) is None
    assert calls.called == []


@pytest.mark.parametrize("wish", [None, Wish.of("replace", "car", "a blue unicorn")])
def test_nobody_looks_for_what_nobody_knows(ask, wish):
    assert ask({"releases": {"mask": 1}}, wish, Calls()) is None


@pytest.mark.parametrize("error", ["overloaded", "restarting", "internal"])
def test_a_look_that_fails_is_none(ask, error):
    assert ask({"releases": {"mask": 1}}, CAR_TO_BOAT, Calls(error)) is None


def test_a_caller_who_leaves_is_not_looked_for(ask):
    with pytest.raises(EditError, match="cancelled"):
        ask({"releases": {"mask": 1}}, CAR_TO_BOAT, Calls("cancelled"))
