"""Settings checked by name and value."""

import json
import math
from dataclasses import dataclass

import pytest

from serving.intents import MAX_PROMPT_CHARS
from serving.language.settings import ParseSettings
from serving.settings import from_parameters
from serving.steps.admission import Limits
from serving.steps.step import NoParameters


@dataclass(frozen=True)
class Example:
    name: str
    share: float = math.inf
    count: int = 1


def test_parameters_become_what_the_fields_say():
    assert from_parameters(Example, {"name": "x", "share": "1e-3", "count": "7"}) == Example("x", 1e-3, 7)
    assert from_parameters(Example, {"name": "x"}) == Example("x")
    texts = {"all": "20", "least": "8", "seconds": "3", "bulk": "6", "bulk_turn": "5"}
    assert from_parameters(Limits, texts) == Limits(20, 8, 3, 6, 5)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (Example, {"name": "x", "shares": "1"}, "unknown parameters shares; known: name, share, count"),
        (Example, {"count": "7"}, "missing parameters: name"),
        (Example, {"name": "x", "count": "7.5"}, "count is '7.5', and must be a whole number"),
        (Example, {"name": "x", "share": "half"}, "share is 'half', and must be a number"),
        (NoParameters, {"threshold": "1"}, "unknown parameters threshold; known: none"),
    ],
)
def test_parameters_that_cannot_be_are_an_error(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        from_parameters(kind, parameters)


def test_a_release_of_parse_is_read_with_what_the_export_writes(tmp_path):
    (tmp_path / "parse.json").write_text(json.dumps({"quantisation": None, "max_prompt_chars": 77}))
    assert ParseSettings.read(tmp_path / "parse.json") == ParseSettings(None, 77)
    assert ParseSettings() == ParseSettings("nf4", MAX_PROMPT_CHARS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"quantisation": "nf4", "max_chars": 9},
            r"unknown settings in parse\.json max_chars; known: quantisation, max_prompt_chars",
        ),
        ({"max_prompt_chars": "9"}, "max_prompt_chars is '9', and must be a whole number from 1 on"),
        ({"max_prompt_chars": 0}, "max_prompt_chars is 0"),
        ({"max_prompt_chars": True}, "max_prompt_chars is True"),
    ],
)
def test_settings_of_parse_that_cannot_be_are_an_error(tmp_path, values, message):
    (tmp_path / "parse.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        ParseSettings.read(tmp_path / "parse.json")
