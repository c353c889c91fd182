"""inpaint.json: what a release must say of itself, and how it is told what is wrong."""

import json
from dataclasses import asdict

import pytest

from serving.diffusion.assets import Assets, InpaintSettings
from tests.unit.inpaint_release import CONTEXT, SETTINGS, write

TOKENIZER = SETTINGS["tokenizers"][0]


def test_what_exports_have_written_so_far_is_read(tmp_path):
    write(tmp_path)
    assets = Assets.read(tmp_path)
    assert json.loads(json.dumps(asdict(assets.settings))) == SETTINGS
    assert assets.tokens("a boat") == [1, 4, 5, 2] + [0] * (CONTEXT - 4)
    assert len(assets.plan(4).steps) == 4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sampler": None}, "it lacks sampler"),
        ({"sampler": None, "size": None}, "it lacks sampler, size"),
        ({"colour": "red"}, "it has the unknown colour"),
        ({"sampler": None, "colour": "red"}, "it lacks sampler and it has the unknown colour"),
        ({"size": "192"}, "size is '192', which is of a wrong type"),
        ({"size": True}, "size is True"),
        ({"guidance_scale": []}, r"guidance_scale is \[\]"),
        ({"tokenizers": None}, "it lacks tokenizers"),
        ({"tokenizers": [{**TOKENIZER, "pad_token_id": 0.5}]}, "pad_token_id is 0.5"),
        ({"tokenizers": [{"file": "tokenizer.json"}]}, "it lacks bos_token_id, eos_token_id, pad_token_id"),
        ({"tokenizers": ["tokenizer.json"]}, "'tokenizer.json' stands where an object should"),
        ({"tokenizers": 3}, "tokenizers is 3"),
    ],
    ids=str,
)
def test_another_content_is_an_error_that_says_to_export_again(tmp_path, change, fault):
    values = {name: value for name, value in {**SETTINGS, **change}.items() if value is not None}
    (tmp_path / "inpaint.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"^inpaint\.json .*{fault}.*; export the release again$"):
        InpaintSettings.read(tmp_path / "inpaint.json")


@pytest.mark.parametrize("content", ["", "[]", '"text"'])
def test_what_is_no_object_is_an_error_that_says_to_export_again(tmp_path, content):
    (tmp_path / "inpaint.json").write_text(content)
    with pytest.raises(ValueError, match=r"^inpaint\.json .* export the release again$"):
        InpaintSettings.read(tmp_path / "inpaint.json")


def test_a_whole_number_does_for_a_scale(tmp_path):
    (tmp_path / "inpaint.json").write_text(json.dumps({**SETTINGS, "guidance_scale": 4}))
    assert InpaintSettings.read(tmp_path / "inpaint.json").guidance_scale == 4.0
