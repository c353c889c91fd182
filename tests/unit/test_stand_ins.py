"""Colours that the language model is not shown, and things that are no colours."""

import json

import pytest

from serving.language.grammar import spans
from serving.language.stand_ins import StandIns, with_stand_ins


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("paint the car #C0392B", "paint the car red"),
        ("make the chair red (#c0392b).", "make the chair red."),
        ("Recolor the house rgb(192, 57, 43), please", "Recolor the house red, please"),
        ("color it hex c0392b", "color it red"),
        ("Paint the wall c0392b", "Paint the wall red"),
        ("make the red car #C0392B", "make the red car brown"),
        ("make the #C0392B car #c03", "make the red car pink"),
        ("make the umbrella sky blue", "make the umbrella blue"),
        ("paint the house sky blue and the car #fff", "paint the house blue and the car white"),
        ("Make the red car blue-green", "Make the red car blue"),
        ("turn the car a darker shade of green", "turn the car a green"),
        ("Make the car british racing green", "Make the car green"),
        ("make the boat matte black", "make the boat black"),
        ("Recolour the car to teal", "Recolour the car to green"),
        ("make the cat gold", "make the cat yellow"),
        ("make the chair leather", "make the chair brown"),
        ("make the brown chair red leather", "make the brown chair orange"),
    ],
)
def test_colours_are_shown_as_basic_words(sentence, shown):
    assert with_stand_ins(sentence).sentence == shown


@pytest.mark.parametrize(
    "sentence",
    [
        "make the car red", "make it black and white", "Replace the #1 mug with a cup", "remove the #100 bus",
        "paint the sky blue", "make the lemon yellow", "paint the ice cream red", "make apple green",
        "replace the peach with a lemon", "replace the rose with a violet", "Turn the salmon into a trout",
        "replace the car with gold", "replace the brick house with a wooden hut", "turn the paper lantern red",
        "make the house number 123456", "make the decade facade", "swap the teal boat for a cat", "Remove the wine", "",
    ],
)  # fmt: skip
def test_things_and_basic_words_are_shown_as_they_are(sentence):
    assert with_stand_ins(sentence) == StandIns(sentence)


@pytest.mark.parametrize(
    "sentence", ["Replace the teal-ish jug, #C0392B, with rgb(1, 2, 3) wine", "(#c03) is red (#C03"]
)
def test_the_answer_has_the_sentences_own_words(sentence):
    shown = with_stand_ins(sentence)
    assert len(shown.meant) == 2
    for span in spans(shown.sentence):
        assert json.loads(shown.restored(json.dumps({"target": span})))["target"] in sentence


def test_more_colours_than_basic_words_leave_the_last_as_they_are():
    sentence = "make it " + ", ".join(f"#{i:06x}" for i in range(12))
    assert with_stand_ins(sentence).sentence.endswith(", #00000b")
    assert len(with_stand_ins(sentence).meant) == 11
