"""A canary's share: stable for a key, true over many, read again when it changes."""

import json

import pytest

from serving.steps.canary import Canary, share_point

KEYS = [f"customer {number}".encode() for number in range(2000)]


@pytest.fixture
def write(tmp_path):
    def write(**entry):
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps({"mask": entry, "inpaint": {"release": 1, "canary": None, "share": 0.0}}))
        fresh.replace(tmp_path / "releases.json")

    return write


def share(canary):
    answers = [canary.release_for(key) for key in KEYS]
    assert answers == [canary.release_for(key) for key in KEYS]
    return {release: answers.count(release) / len(KEYS) for release in set(answers)}


def test_without_a_release_state_or_a_canary_a_release_answers_all(tmp_path, write):
    canary = Canary(tmp_path, "mask", 2)
    assert share(canary) == {2: 1}
    write(release=1, canary=None, share=0.0)
    assert not canary.active()
    assert share(canary) == {2: 1}


def test_a_canary_answers_its_share_and_passes_on_the_others(tmp_path, write):
    canary, before = Canary(tmp_path, "mask", 2), Canary(tmp_path, "mask", 1)
    write(release=1, canary=2, share=0.05)
    assert share(canary) == {2: pytest.approx(0.05, abs=0.015), 1: pytest.approx(0.95, abs=0.015)}
    assert share(before) == {1: 1}
    assert share(Canary(tmp_path, "inpaint", 2)) == {2: 1}


def test_a_larger_share_keeps_those_who_had_the_canary_and_promotion_reaches_all(tmp_path, write):
    canary = Canary(tmp_path, "mask", 2)
    write(release=1, canary=2, share=0.1)
    few = {key for key in KEYS if canary.release_for(key) == 2}
    write(release=1, canary=2, share=0.5)
    assert few < {key for key in KEYS if canary.release_for(key) == 2}
    write(release=2, canary=None, share=0.0)
    assert share(canary) == {2: 1}


def test_keys_are_spread_evenly():
    tenths = [int(share_point(key) * 10) for key in KEYS]
    assert all(150 < tenths.count(tenth) < 250 for tenth in range(10))
