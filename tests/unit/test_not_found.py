"""What a caller reads when the object is not found, and what the demo weights add to it."""

import json

import numpy as np
import pytest

from export.demo.words import KIND_NOUNS
from export.demo.world import KINDS
from export.presets import DEMO_WEIGHTS, PRESETS
from serving.segmentation.not_found import no_such_thing
from serving.segmentation.regions import Region
from serving.segmentation.segmenter import Settings
from tests.unit.test_masking import write_masker

HINT = "for photographs export public checkpoints, see export's README."


def far_corner() -> list[tuple[float, Region]]:
    mask = np.zeros((32, 32), bool)
    mask[30:32, 30:32] = True
    return [(0.49, Region(mask, (30, 30, 32, 32), 0.49))] * 9


@pytest.mark.parametrize("noun", ["unicorn", "car", "sports car", "x" * 500])
def test_demo_weights_say_what_they_know_and_how_to_get_others(noun):
    said = str(no_such_thing(noun, far_corner(), (8192, 8192), 0.5, KINDS))
    assert all(kind in said for kind in KINDS)
    assert HINT in said
    assert len(said) < 400


def test_other_weights_say_nothing_of_the_demo():
    said = str(no_such_thing("unicorn", [], (64, 64), 0.5))
    assert said.endswith("name something that is visible.")


def test_a_long_list_is_cut():
    said = str(no_such_thing("unicorn", [], (64, 64), 0.5, [f"noun{i}" for i in range(500)]))
    assert "noun15, …; for" in said


def test_the_demo_checkpoint_knows_the_kinds_of_its_world_and_no_other_preset_does():
    own = json.loads((DEMO_WEIGHTS / "mask" / "recast.json").read_text())
    assert own["knows"] == list(KINDS) == list(KIND_NOUNS)
    assert not any(preset.settings.get("mask", {}).get("knows") for preset in PRESETS.values())


def test_a_release_of_before_is_still_read(tmp_path):
    write_masker(tmp_path)
    values = json.loads((tmp_path / "mask.json").read_text())
    del values["knows"]
    (tmp_path / "mask.json").write_text(json.dumps(values))
    assert Settings.read(tmp_path / "mask.json").knows == ()
    (tmp_path / "mask.json").write_text(json.dumps({**values, "knows": ["car"]}))
    assert list(Settings.read(tmp_path / "mask.json").knows) == ["car"]
    del values["threshold"]
    (tmp_path / "mask.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"missing settings in mask\.json: threshold"):
        Settings.read(tmp_path / "mask.json")
