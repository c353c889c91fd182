"""Sentences read by another server: deadlines, and what lost calls mean. The other server is scripted."""

import math
import threading
import time

import grpc
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from serving.errors import EditError
from serving.steps.parse_forwarder import LEAST, OUTPUTS, RemoteParse, failure

PARSED = {name: np.array([[name.encode()]], object) for name in OUTPUTS}


@pytest.fixture
def remote(scripted_server):
    scripted_server.script = [PARSED]
    remote = RemoteParse(scripted_server.grpc_url)
    yield remote
    remote.close()


def test_a_sentence_is_read_with_its_id_and_the_time_that_is_left(scripted_server, remote):
    outputs = remote.read(b"Remove the car", "r7", time.monotonic() + 30)
    assert {name: value.item() for name, value in outputs.items()} == {name: name.encode() for name in OUTPUTS}
    assert scripted_server.request_ids == ["r7"]
    assert 0 < scripted_server.timeouts[0] <= 30e6


@pytest.mark.parametrize("left", [-1.0, 0.0, LEAST / 2])
def test_no_sentence_is_sent_whose_time_is_up(scripted_server, remote, left):
    with pytest.raises(EditError, match=r"cancelled: the deadline passed"):
        remote.read(b"Remove the car", "r7", time.monotonic() + left)
    assert scripted_server.calls == []


def test_a_deadline_that_passes_meanwhile_is_cancelled_at_once(scripted_server, remote):
    answered, over = [], threading.Event()

    def held(model, inputs):
        over.wait(60)
        answered.append(model)
        return PARSED

    scripted_server.script = [held]
    with pytest.raises(EditError, match=r"cancelled: the deadline passed"):
        remote.read(b"Remove the car", "r7", time.monotonic() + 0.2)
    assert not answered
    over.set()


def test_the_language_models_own_error_passes_through(scripted_server, remote, fault):
    scripted_server.script = [fault(grpc.StatusCode.INVALID_ARGUMENT, "[request id: r7] not_an_edit: nothing.")]
    with pytest.raises(EditError, match=r"^not_an_edit: nothing\.$"):
        remote.read(b"hello", "r7", math.inf)


@pytest.mark.parametrize("message", ["Exceeds maximum queue size", "Request timeout expired"])
@pytest.mark.parametrize(("left", "name"), [(math.inf, "overloaded"), (60, "overloaded"), (0, "cancelled")])
def test_a_language_model_that_is_busy_is_overloaded_until_the_deadline(message, left, name):
    error = InferenceServerException(message, status="StatusCode.UNAVAILABLE")
    assert failure(error, time.monotonic() + left).name == name


def test_a_language_model_that_is_away_is_restarting():
    error = InferenceServerException("failed to connect to all addresses", status="StatusCode.UNAVAILABLE")
    assert failure(error).name == "restarting"
