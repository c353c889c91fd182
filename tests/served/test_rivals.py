"""The rivals that Recast is compared with answer properly, so that their speed means something."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image

from benchmarks.compare.systems import ask
from benchmarks.rivals.pipeline import CHECKPOINTS, Pipeline
from benchmarks.rivals.request import Request
from benchmarks.rivals.servers import WARM_UP, rival_options
from export.demo import world
from serving.errors import EditError
from serving.launcher.server import start
from tests.served.pictures import encoded

pytestmark = pytest.mark.slow
STEPS = 2


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(CHECKPOINTS, "fp32")


@pytest.fixture(scope="module")
def requests(pipeline):
    """Edits of four scenes, each of a thing that the pipeline finds; their steps differ, some of them."""
    found, seed = [], world.HELD_OUT
    while len(found) < 4:
        scene, seed = world.draw(world.plan(seed), (320, 256)), seed + 1
        kinds = [thing.kind for thing in scene.things if 0.03 < (thing.mask > 127).mean() < 0.2]
        if kinds and kinds.count(kinds[0]) == 1:
            picture = encoded(Image.fromarray(scene.image))
            wanted = next(kind for kind in world.KINDS if kind != kinds[0])
            found.append(Request(picture, f"Replace the {kinds[0]} with a {wanted}", seed, STEPS + len(found) % 2, 4.0))
    return found


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.int16)


def check_edit(request: Request, answer: bytes) -> None:
    before, after = pixels(request.image), pixels(answer)
    assert after.shape == before.shape
    changed = (before != after).any(axis=-1)
    assert 0.005 < changed.mean() < 0.7
    assert np.abs(after - before).max() > 40
    ys, xs = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    box = changed[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    assert box.mean() > 0.6  # one box has changed and nothing else


def test_a_batch_of_mixed_steps_answers_each_as_if_it_were_alone(pipeline, requests):
    together = pipeline.edit_all(requests)
    for request, answer in zip(requests, together, strict=True):
        check_edit(request, answer)
        (alone,) = pipeline.edit_all([request])
        assert np.abs(pixels(answer) - pixels(alone)).max() <= 1
    other_seed, other_steps = (replace(requests[0], **change) for change in ({"seed": 7}, {"num_inference_steps": 4}))
    for answer in pipeline.edit_all([other_seed, other_steps]):
        assert np.abs(pixels(answer) - pixels(together[0])).max() > 8


def test_a_request_that_cannot_be_served_costs_its_neighbours_nothing(pipeline, requests):
    good, wrong = requests[0], replace(requests[1], prompt="What a lovely day")
    broken, absent = (
        replace(good, image=b"no picture"),
        replace(good, image=encoded(Image.new("RGB", (64, 64), "white"))),
    )
    answers = pipeline.edit_all([wrong, good, broken, absent])
    assert [answers[i].name for i in (0, 2, 3)] == ["not_an_edit", "invalid_image", "object_not_found"]
    check_edit(good, answers[1])


@pytest.mark.parametrize("kind", WARM_UP)
def test_rival_server_answers_edits_that_come_together(kind, pipeline, requests, tmp_path):
    alone = pipeline.edit_all(requests)
    with (
        start(rival_options(kind, tmp_path, "fp32")) as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(lambda request: ask(client, kind, request), requests))
        statistics = client.get_inference_statistics(kind).model_stats[0]
        with pytest.raises(EditError, match="not_an_edit"):
            ask(client, kind, replace(requests[0], prompt="What a lovely day"))
    for request, answer, expected in zip(requests, answers, alone, strict=True):
        check_edit(request, answer)
        assert np.abs(pixels(answer) - pixels(expected)).max() <= 1
    assert statistics.inference_count == len(requests)
    if kind == "tutorial":
        assert statistics.execution_count == len(requests)
    else:
        assert statistics.execution_count < len(requests)


def test_what_bench_asks_is_understood_by_recast_too(server, requests):
    with triton.InferenceServerClient(server.grpc_url) as client:
        check_edit(requests[0], ask(client, "replace", requests[0]))
