"""What the steps remember: nothing is computed twice, and no caller and no release gets what is another's."""

import json
import urllib.request

import numpy as np
import pytest
from recast import Client, InvalidPrompt, NotAnEdit, ObjectNotFound

STEPS = 2


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


def computed(server, model):
    """How many rows `model` has worked on."""
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats") as answer:
        return sum(version["inference_count"] for version in json.load(answer)["model_stats"])


def test_a_picture_that_comes_again_is_looked_at_once_by_each_instance(server, client, scenes):
    picture, name = scenes[3]
    looks = []
    for _ in range(6):
        before = computed(server, "segmenter")
        client.mask(picture, name, intent="replace")
        looks.append(computed(server, "segmenter") - before)
    assert looks[0] > 0
    assert sum(rows > 0 for rows in looks) <= 2  # mask has two instances, each with a memory of its own


def test_the_same_words_about_another_picture_find_its_own_object(client, scenes):
    picture, name = scenes[0]
    mirrored = picture.transpose(0)
    masks = [np.asarray(client.mask(image, name).mask) for image in (picture, mirrored, picture, mirrored)]
    assert (masks[0] == masks[2]).all()
    assert (masks[1] == masks[3]).all()
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize(("prompt", "error"), [
    ("", InvalidPrompt),
    ("good morning to you", NotAnEdit),
    ("remove the unicorn", ObjectNotFound),
])  # fmt: skip
def test_an_error_is_the_same_the_second_time(client, scenes, prompt, error):
    messages = set()
    for _ in range(4):
        with pytest.raises(error) as raised:
            client.replace(scenes[0][0], prompt, num_inference_steps=STEPS)
        messages.add(str(raised.value))
    assert len(messages) == 1
