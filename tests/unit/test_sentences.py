import random

import pytest

from export.demo import words
from export.demo.sentences import edit_sentence, held_out, sentence
from serving.language.grammar import spans
from serving.language.instruction import Edit


def test_held_out_nouns_share_no_word_with_training():
    seen = {*words.NOUNS, *words.MODIFIERS, *words.ADJECTIVES, *words.COLOUR_WORDS}
    assert not seen & {*words.HELD_OUT_NOUNS, *words.HELD_OUT_MODIFIERS}


def test_training_sentences_hold_no_held_out_noun():
    rng = random.Random(0)
    kept_out = {*words.HELD_OUT_NOUNS, *words.HELD_OUT_MODIFIERS}
    assert not any(kept_out & set(sentence(rng)[0].lower().split()) for _ in range(2000))


def test_held_out_is_a_function_of_its_seed():
    assert held_out(20, 1) == held_out(20, 1) != held_out(20, 2)


@pytest.mark.parametrize("kept_out", [False, True])
def test_every_edit_can_be_said_by_the_grammar(kept_out):
    rng = random.Random(5)
    for _ in range(500):
        text, edit = sentence(rng, held_out=kept_out)
        if edit is not None:
            assert edit.target in spans(text)
            assert edit.replacement in ["", *spans(text)]


@pytest.mark.parametrize(("intent", "replacement"), [("replace", "red boat"), ("recolour", "blue"), ("remove", "")])
def test_edit_sentence_asks_for_the_given_edit(intent, replacement):
    text, edit = edit_sentence(random.Random(3), "car on the left", replacement, intent=intent)
    wanted = Edit(intent, "car on the left", replacement)
    assert Edit(edit.intent, edit.target.lower(), edit.replacement.lower()) == wanted
    assert edit.target in text
