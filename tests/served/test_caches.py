"""The response cache: nothing is computed twice, and no caller and no release gets what is another's."""

import json
import re
import shutil
import urllib.request

import pytest
from recast import Client

from serving.launcher import Server
from tests.conftest import REPOSITORY

STEPS = 2


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


def computed(server, model):
    """How many requests `model` has worked on: those answered from the cache do not count."""
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats") as answer:
        return sum(version["inference_count"] for version in json.load(answer)["model_stats"])


def test_a_repeated_edit_is_read_and_looked_for_once(server, client, scenes):
    picture, name = scenes[3]
    before = {model: computed(server, model) for model in ("parse", "mask", "text_encoder", "inpaint")}
    wishes = [f"swap the {name} for a white tree", f"swap the {name} for a white tree", f"replace the {name} by a tree"]
    edits = [client.replace(picture, wish, seed=3, num_inference_steps=STEPS) for wish in wishes]
    after = {model: computed(server, model) - before[model] for model in before}
    assert edits[0].png == edits[1].png != edits[2].png
    assert edits[0].report["releases"] == edits[1].report["releases"]
    assert after == {"parse": 2, "mask": 1, "text_encoder": after["text_encoder"], "inpaint": 3}
    assert after["text_encoder"] <= 3  # "a white tree", "a tree", and the empty text unless it was known


def test_the_same_words_about_another_picture_find_its_own_object(client, scenes):
    picture, name = scenes[0]
    mirrored = picture.transpose(0)
    masks = [client.mask(image, name).mask for image in (picture, mirrored, picture)]
    assert list(masks[0].getdata()) == list(masks[2].getdata())
    assert list(masks[0].getdata()) != list(masks[1].getdata())


def test_without_the_cache_the_same_bytes_and_after_a_swap_the_new_release(client, scenes, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    for config in repository.glob("*/config.pbtxt"):
        config.write_text(re.sub(r"response_cache \{[^}]*\}", "", config.read_text()))
    picture, name = scenes[1]
    ask = {"image": picture, "prompt": f"Replace the {name} with a boat", "seed": 5, "num_inference_steps": STEPS}
    cached = [client.replace(**ask) for _ in range(2)]
    with Server(repository) as server, Client(server.grpc_url, timeout=120) as plain:
        assert plain.replace(**ask).pngs == cached[0].pngs == cached[1].pngs
        shutil.copy(REPOSITORY / "mask" / "config.pbtxt", repository / "mask" / "config.pbtxt")
        load(server, "mask")
        assert [plain.replace(**ask).report["releases"]["mask"] for _ in range(2)] == [1, 1]
        for model in ("segmenter", "mask"):
            shutil.copytree(repository / model / "1", repository / model / "2")
            load(server, model)
        assert plain.replace(**ask).report["releases"]["mask"] == 2


def load(server, model):
    request = urllib.request.Request(f"http://{server.http_url}/v2/repository/models/{model}/load", method="POST")
    urllib.request.urlopen(request, timeout=60).close()
