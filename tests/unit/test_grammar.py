import json
import random

import pytest

from serving.language.grammar import START, AnswerState, spans


def encode(texts):
    """A tokeniser of single characters."""
    return [[ord(character) for character in text] for text in texts]


def write(answer: AnswerState, rng: random.Random) -> dict:
    """A random walk through the grammar, to the end."""
    while answer.allowed:
        answer.forced()
        if answer.allowed:
            answer.advance(rng.choice(answer.allowed))
    return json.loads(START + "".join(map(chr, answer.tokens)))


def test_spans_are_whole_words_without_articles_at_the_ends():
    assert spans("Swap the car.") == ["Swap", "Swap the car", "car"]


@pytest.mark.parametrize(
    ("sentence", "inside", "outside"),
    [
        ("instead of the car, put a boat", ["car", "boat"], ["car put", "car, put"]),
        ("replace the 'car' with a \"boat\"!", ["car", "boat"], ["'car'", 'boat"!']),
        ("car -> boat", ["car", "boat"], ["car -> boat", "->"]),
        ("the car,put a boat", ["car", "boat"], ["car,put"]),
        (
            "remove my neighbour's t-shirt",
            ["neighbour's t-shirt", "t-shirt"],
            ["my neighbour's t-shirt", "s"],
        ),
        ("remove the 3.5 inch disk", ["3.5 inch disk"], ["3"]),
    ],
)
def test_spans_at_punctuation(sentence, inside, outside):
    found = spans(sentence)
    assert set(inside) <= set(found)
    assert not set(outside) & set(found)


def test_spans_do_not_run_into_the_next_clause():
    found = spans("change the red car so that it becomes a boat on the lake")
    assert {"red car", "boat", "boat on the lake"} <= set(found)
    assert not {"red car so", "red car so that it", "boat on", "it", "becomes"} & set(found)


def test_spans_are_bounded():
    assert max(len(span.split()) for span in spans("word " * 5 + " ".join(map(str, range(50))))) == 10


@pytest.mark.parametrize("seed", range(50))
def test_every_answer_is_json_of_the_sentence_own_words(seed):
    sentence = 'swap the "red" car\\van on the left, please, for a boat'
    answer = write(AnswerState(sentence, encode), random.Random(seed))
    assert list(answer) == ["intent", "target", "replacement"]
    allowed = spans(sentence)
    if answer["intent"] == "none":
        assert answer["target"] == answer["replacement"] == ""
    else:
        assert answer["intent"] in ("replace", "recolour", "remove")
        assert answer["target"] in allowed
        assert answer["replacement"] in ([""] if answer["intent"] == "remove" else allowed)


@pytest.mark.parametrize(
    ("sentence", "target", "can", "cannot"),
    [
        ("turn the big dog into a cat", "dog", ["cat", "big"], ["dog", "big dog"]),
        ("replace the car with a red car", "car", ["red car", "car"], []),
        ("put a red car where the car is", "car", ["red car"], []),
        ("replace the car in the carport", "car", ["carport"], ["car"]),
        ("swap dog", "swap dog", ["dog", "swap dog"], []),
    ],
)
def test_the_replacement_stands_elsewhere_than_the_target(sentence, target, can, cannot):
    def sayable(replacement):
        answer = AnswerState(sentence, encode)
        try:
            for token in encode([f'replace", "target": "{target}", "replacement": "{replacement}"}}'])[0]:
                answer.advance(token)
        except KeyError:
            return False
        return not answer.allowed

    assert all(map(sayable, can))
    assert not any(map(sayable, cannot))


@pytest.mark.parametrize("sentence", ["...", "the", "?!"])
def test_a_sentence_without_words_can_only_be_no_edit(sentence):
    answer = AnswerState(sentence, encode)
    answer.forced()
    assert not answer.allowed
    assert json.loads(START + "".join(map(chr, answer.tokens)))["intent"] == "none"


def test_forced_stops_at_the_next_choice():
    answer = AnswerState("remove dog", encode)
    assert answer.forced() == []  # replace, recolour, remove or none
    answer.advance(ord("n"))
    assert "".join(map(chr, answer.forced())) == 'one", "target": "", "replacement": ""}'
    assert answer.allowed == []


def test_a_token_outside_the_grammar_is_refused():
    with pytest.raises(KeyError):
        AnswerState("remove dog", encode).advance(ord("x"))
