"""When a call is tried again and until when: the policy, and both clients against a scripted server."""

import math

import grpc
import pytest
import recast
from recast import retrying
from recast.deadline import Deadline

from tests.unit.client_answers import OVERLOADED, blob, edit

LOST = (grpc.StatusCode.INTERNAL, "in ensemble 'replace', Stub process 'parse_0_0' is not healthy.")
AWAY = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'replace' has no available versions")


def test_backoff_grows_and_is_bounded():
    pauses = list(retrying.backoff(12))
    assert 0.1 <= pauses[0] <= 0.2
    assert all(1 <= pause <= retrying.LONGEST_PAUSE for pause in pauses[6:])
    assert list(retrying.backoff(0)) == []


def test_deadline_never_goes_below_zero():
    assert Deadline(-1.0).left() == 0.0
    assert Deadline(None).left() is None
    assert Deadline(None).allows(math.inf)
    assert Deadline(9.0).allows(1.0)
    assert not Deadline(1.0).allows(9.0)


def test_overloaded_is_tried_again(scripted_server, connect, fault):
    queue = fault(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    scripted_server.script = [fault(*OVERLOADED), queue, edit()]
    with connect(scripted_server.grpc_url) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 3


def test_overloaded_is_told_at_once_without_retries(scripted_server, connect, fault):
    scripted_server.script = [fault(*OVERLOADED)]
    with connect(scripted_server.grpc_url, retries=0) as client, pytest.raises(recast.Overloaded, match="queue is"):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_overloaded_to_the_deadline_says_how_long_was_waited(scripted_server, connect, fault, streamed):
    scripted_server.script = [fault(*OVERLOADED)]
    with connect(scripted_server.grpc_url, timeout=0.5, retries=1) as client:
        with pytest.raises(recast.Overloaded, match=r"within 0\.\d+ s \(asked \d+ times\): the queue is full"):
            list(client.replace_stream(b"x", "y")) if streamed else client.replace(b"x", "y")
    assert len(scripted_server.calls) > 2  # more than the retries


def test_a_lost_call_is_tried_again(scripted_server, connect, fault):
    scripted_server.script = [fault(*LOST), fault(*LOST), edit()]
    with connect(scripted_server.grpc_url, retries=2) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 3


def test_an_edit_that_ends_processes_is_given_up_after_the_retries(scripted_server, connect, fault):
    scripted_server.script = [fault(*LOST)]
    with connect(scripted_server.grpc_url, retries=2) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 3


def test_a_server_that_is_away_is_waited_for_beyond_the_retries(scripted_server, connect, fault):
    scripted_server.script = [*[fault(*AWAY)] * 4, edit()]
    with connect(scripted_server.grpc_url, retries=1) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 5


def test_a_server_that_stays_away_fails_typed_before_the_deadline(scripted_server, connect, fault):
    scripted_server.script = [fault(*AWAY)]
    with connect(scripted_server.grpc_url, timeout=0.5) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")


@pytest.mark.parametrize("answer", [LOST, AWAY])
def test_without_retries_a_restart_is_told_at_once(scripted_server, connect, fault, answer):
    scripted_server.script = [fault(*answer)]
    with connect(scripted_server.grpc_url, retries=0) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 1


def test_a_server_that_ends_after_an_answer_is_waited_for(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url, timeout=1) as client:
        client.replace(b"x", "y")
        scripted_server.stop()
        with pytest.raises(recast.Restarting, match="away"):
            client.replace(b"x", "y")
        with pytest.raises(recast.Restarting, match="away"):
            client.replace(b"x", "y", timeout=0.1)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UNAVAILABLE", "This protocol is restricted", recast.AccessDenied),
        ("NOT_FOUND", "in ensemble 'replace', object_not_found: no unicorn here.", recast.ObjectNotFound),
        ("INVALID_ARGUMENT", "invalid_image: not a picture.", recast.InvalidImage),
        ("INTERNAL", "internal: the server failed on this request.", recast.InternalError),
    ],
)
def test_no_other_error_is_tried_again(scripted_server, connect, fault, code, message, kind):
    scripted_server.script = [fault(grpc.StatusCode[code], message)]
    with connect(scripted_server.grpc_url) as client, pytest.raises(kind):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 1


def test_a_stream_is_tried_again_until_it_has_begun(scripted_server, connect, fault):
    away = fault(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    scripted_server.script = [fault(*OVERLOADED), away, edit()]
    with connect(scripted_server.grpc_url) as client:
        *_, result = client.replace_stream(b"x", "y")
    assert result.seed == 7
    assert scripted_server.streams == 3


def test_a_stream_that_breaks_off_fails_typed(scripted_server, connect, fault):
    scripted_server.script = [{"edited_image": blob(b"x")}, edit()]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.InternalError, match="mask_image"):
        list(client.replace_stream(b"x", "y"))
    assert scripted_server.streams == 1


def test_the_server_is_told_how_long_a_call_may_take(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url, timeout=None) as client:
        client.replace(b"x", "y")
        client.replace(b"x", "y", timeout=5)
        list(client.replace_stream(b"x", "y", timeout=5))
    assert scripted_server.timeouts[0] is None
    assert all(4e6 < microseconds <= 5e6 for microseconds in scripted_server.timeouts[1:])


def test_a_deadline_that_the_server_notices_first_is_one(scripted_server, connect, fault):
    late = "in ensemble 'replace', cancelled: the deadline passed before the edit was done; ask for less."
    scripted_server.script = [fault(grpc.StatusCode.CANCELLED, late)]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.DeadlineExceeded, match="5 s"):
        client.replace(b"x", "y", timeout=5)


def test_deadline(scripted_server, connect):
    scripted_server.script = [0.5]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.DeadlineExceeded, match=r"0\.1 s"):
        client.replace(b"x", "y", timeout=0.1)
