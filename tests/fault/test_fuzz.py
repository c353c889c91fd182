"""Three hundred hostile requests: the same code as `make fuzz`, which sends ten thousand."""

import re

import pytest

from benchmarks.fuzz import Fuzzing, Tally, judge
from benchmarks.hostile import Attack


def test_hostile_requests_typed_errors_and_nothing_dies(server):
    fuzzing = Fuzzing(server)
    fuzzing.run(300, 1)
    assert not +fuzzing.tally.findings, fuzzing.tally.said
    assert fuzzing.tally.answers["OK"] > 10
    assert fuzzing.tally.answers["INVALID_ARGUMENT"] > 100


@pytest.mark.parametrize(
    ("status", "text", "found"),
    [
        ("INTERNAL", "internal: the server failed on this request; its log says why.", {"untyped"}),
        ("DEADLINE_EXCEEDED", "", {"untyped"}),
        ("INVALID_ARGUMENT", 'File "/home/x/model.py", line 3', {"leak"}),
        ("INVALID_ARGUMENT", "invalid_prompt: the prompt is empty.", set()),
    ],
)
def test_an_answer_that_says_too_little_or_too_much_is_found(status, text, found):
    tally = Tally()
    judge(tally, Attack("request", "replace"), status, text)
    assert set(tally.findings) == found


def test_words_of_the_attack_itself_are_no_leak():
    assert Attack("http", "parse", data=b"Traceback").contains(re.compile("Traceback"))
