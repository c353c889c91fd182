"""What the real server's log says of an edit, and what it keeps to itself."""

import json
import re
import shlex
import time

import pytest
from recast import Client, InvalidImage, ObjectNotFound

RECORD = re.compile(r'\] (".*recast .*")$')


def records(server, request_id):
    """The log's lines about one request, as fields; they come a moment after the answer."""
    deadline = time.monotonic() + 5
    while not (found := [fields(line) for line in lines(server) if request_id in line]):
        assert time.monotonic() < deadline, f"no line about {request_id}"
        time.sleep(0.05)
    return found


def lines(server):
    return server.log_path.read_text().splitlines()


def fields(line):
    name, *pairs = shlex.split(json.loads(RECORD.search(line)[1]))
    assert name == "recast"
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


def test_an_edit_is_one_line_with_its_request_id(server, client, scenes):
    picture, name = scenes[0]
    edit = client.replace(picture, f"Replace the {name} with a boat", num_inference_steps=2)
    (record,) = records(server, edit.request_id)
    assert (record["step"], record["intent"], record["outcome"]) == ("inpaint", "replace", "ok")
    assert record["release"] == str(edit.report["releases"]["inpaint"])
    assert 0 < float(record["milliseconds"]) < 60_000
    assert int(record["attempts"]) == sum(edit.report["attempts"])
    assert float(record["edit_score"]) == pytest.approx(edit.edit_score, abs=1e-4)


def test_a_failure_is_one_line_with_the_id_that_the_error_tells(server, client, scenes):
    picture, name = scenes[0]
    with pytest.raises(ObjectNotFound) as error:
        client.replace(picture, "Replace the zebra with a boat", request_id="order-77/a b")
    assert error.value.request_id == "order-77/a b"
    (record,) = records(server, "order-77_a_b")
    assert (record["step"], record["outcome"]) == ("mask", "object_not_found")
    with pytest.raises(InvalidImage) as error:
        client.replace(b"no picture", f"Replace the {name} with a boat")
    (record,) = records(server, error.value.request_id)
    assert record["outcome"] == "invalid_image"


def test_no_prompt_target_or_caption_is_logged(server, client, scenes):
    picture, name = scenes[0]
    client.replace(picture, f"Replace the {name} with a purple quokka", negative_prompt="hidden wombat")
    for sentence in ("Replace the platypus with a quokka", "quokka!", "quokka " * 400):
        with pytest.raises(Exception, match=r"."):
            client.replace(picture, sentence)
    with pytest.raises(ObjectNotFound):
        client.mask(picture, "platypus")
    text = server.log_path.read_text()
    assert not re.findall(r"quokka|wombat|platypus", text)
