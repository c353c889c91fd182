"""Recast's metrics on the real server's page."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
from recast import Client, InvalidOption, NotAnEdit, ObjectNotFound

from serving.steps.metrics import FAMILIES
from tests.launched import frozen, wait_for
from tests.served.metrics_page import scrape, total


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


@pytest.fixture
def grown(server):
    """How much a metric has grown since the test began."""
    before = scrape(server)
    return lambda name, **labels: total(scrape(server), name, **labels) - total(before, name, **labels)


def test_edits_are_counted_once_by_intent_outcome_and_release(client, scenes, grown):
    picture, name = scenes[0]
    edit = client.replace(picture, f"Replace the {name} with a boat", num_inference_steps=2)
    release = str(edit.report["releases"]["inpaint"])
    client.replace(picture, f"Remove the {name}", num_inference_steps=2)
    with pytest.raises(NotAnEdit):
        client.replace(picture, "What a lovely day")
    with pytest.raises(ObjectNotFound):
        client.replace(picture, "Replace the zebra with a boat")
    with pytest.raises(InvalidOption):
        client.replace(picture, f"Replace the {name} with a boat", num_inference_steps=0)
    ended = {
        ("inpaint", "replace", "ok"): 1,
        ("inpaint", "remove", "ok"): 1,
        ("inpaint", "replace", "invalid_option"): 1,
        ("parse", "none", "not_an_edit"): 1,
        ("mask", "replace", "object_not_found"): 1,
    }
    for (step, intent, outcome), count in ended.items():
        assert grown("recast_edits_total", step=step, intent=intent, outcome=outcome) == count, (step, outcome)
    assert grown("recast_edits_total") == sum(ended.values())
    assert grown("recast_edits_total", step="inpaint", outcome="ok", release=release) == 2


def test_what_was_understood_found_and_changed_is_measured(client, scenes, grown):
    picture, name = scenes[1]
    edit = client.replace(picture, f"Replace the {name} with a boat", num_inference_steps=3, max_attempts=1)
    share = sum(edit.mask.histogram()[1:]) / (picture.width * picture.height)
    for metric, value in {
        "recast_parse_score": edit.parse_score,
        "recast_mask_score": edit.mask_score,
        "recast_edit_score": edit.edit_score,
        "recast_mask_area_ratio": share,
    }.items():
        assert grown(f"{metric}_count") == 1
        assert grown(f"{metric}_sum") == pytest.approx(value, rel=1e-5)
        assert grown(f"{metric}_bucket", le="+Inf") == 1
    assert grown("recast_denoising_steps_total", step="inpaint") == 3
    assert grown("recast_cancelled_steps_total") == 0


def test_the_instances_of_a_step_count_together(client, scenes, grown):
    """Eight processes of inpaint, one series."""

    def ask(n: int) -> None:
        picture, name = scenes[n % len(scenes)]
        client.replace(picture, f"Replace the {name} with a boat", seed=n, num_inference_steps=2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
    assert grown("recast_edits_total", step="inpaint", outcome="ok") == 24
    assert grown("recast_denoising_steps_total") == 48
    assert grown("recast_mask_area_ratio_count") == 24


def test_every_metric_has_its_step_and_release(server):
    ours = [(name, dict(labels)) for name, labels in scrape(server) if name.startswith("recast_")]
    assert all({"step", "release"} <= labels.keys() for _, labels in ours)
    started = {labels["step"] for name, labels in ours if name == "recast_step_start_time_seconds"}
    assert started >= {"parse", "mask", "inpaint"}
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name, _ in ours}
    assert families <= FAMILIES.keys()


def test_a_streamed_edit_that_is_left_spares_its_steps(server, client, scenes, grown):
    picture, name = scenes[2]
    steps = client.replace_stream(picture, f"Replace the {name} with a boat", num_inference_steps=50)
    assert sum(1 for done in islice(steps, 4) if done.stage == "inpaint") == 2  # after parse and mask
    with frozen(server.pid, "unet"):
        steps.close()
        client.status()  # over the same connection: the server has read what was sent before
    wait_for(lambda: grown("recast_edits_total", step="replace_stream", intent="none", outcome="cancelled"))
    done, spared = (grown(f"recast_{kind}_steps_total", step="replace_stream") for kind in ("denoising", "cancelled"))
    assert done + spared == 50
    assert done >= 2
    assert spared > 25
