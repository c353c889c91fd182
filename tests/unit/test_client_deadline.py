"""How long calls may take: what the server is told, what gRPC is told, and what is no timeout."""

import math
import threading
import time

import grpc
import pytest
import recast
from recast import deadline
from recast.deadline import GRACE, LEAST, checked

from tests.unit.client_answers import edit

NO_TIMEOUTS = [0, 0.0, -1, -math.inf, math.nan, "5", b"5", True, [], -(10**400)]


@pytest.mark.parametrize("timeout", [1e-9, 1e-6, 0.001, 0.009])
def test_a_call_whose_time_is_up_is_never_sent(scripted_server, connect, timeout):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        for ask in (client.replace, lambda *a, **k: list(client.replace_stream(*a, **k))):
            with pytest.raises(recast.DeadlineExceeded, match="allow more time"):
                ask(b"x", "y", timeout=timeout)
        with pytest.raises(recast.DeadlineExceeded):
            client.parse("y", timeout=timeout)
        with pytest.raises(recast.DeadlineExceeded):
            client.status(timeout=timeout)
    assert scripted_server.calls == []
    assert scripted_server.streams == 0


def test_grpcs_own_deadline_lies_well_behind_the_servers(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y", timeout=3)
        list(client.replace_stream(b"x", "y", timeout=3))
    for seconds, microseconds in zip(scripted_server.grpc_seconds, scripted_server.timeouts, strict=True):
        assert microseconds <= 3e6
        assert seconds > microseconds / 1e6 + GRACE / 2


def test_retries_too_keep_to_what_is_left(scripted_server, connect, fault):
    away = fault(grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'replace' has no available versions")
    scripted_server.script = [away]
    with connect(scripted_server.grpc_url, timeout=0.4) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert len(scripted_server.timeouts) > 1
    assert min(scripted_server.timeouts) >= LEAST * 0.9e6
    assert scripted_server.timeouts == sorted(scripted_server.timeouts, reverse=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_answers_nothing_is_given_up_a_little_later(scripted_server, connect, monkeypatch, streamed):
    monkeypatch.setattr(deadline, "GRACE", 0.3)
    answered = threading.Event()
    scripted_server.script = [lambda model, inputs: answered.wait(20) and edit()]
    start = time.monotonic()
    with connect(scripted_server.grpc_url) as client:
        ask = (lambda *a, **k: list(client.replace_stream(*a, **k))) if streamed else client.replace
        with pytest.raises(recast.DeadlineExceeded, match=r"0\.2 s"):
            ask(b"x", "y", timeout=0.2)
        assert time.monotonic() - start >= 0.5
        answered.set()


@pytest.mark.parametrize("timeout", NO_TIMEOUTS)
def test_what_is_no_timeout_is_refused(scripted_server, connect, timeout):
    with pytest.raises(recast.InvalidOption, match="number of seconds above 0, or inf"):
        connect(scripted_server.grpc_url, timeout=timeout)
    with connect(scripted_server.grpc_url) as client:
        for ask in (client.replace, lambda *a, **k: list(client.replace_stream(*a, **k))):
            with pytest.raises(recast.InvalidOption, match="timeout"):
                ask(b"x", "y", timeout=timeout)
        with pytest.raises(recast.InvalidOption, match="timeout"):
            client.status(timeout=timeout)
    assert scripted_server.calls == []


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 10**400])
def test_no_limit_is_none(scripted_server, connect, timeout):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url, timeout=timeout) as client:
        assert client.replace(b"x", "y").seed == 7
    with connect(scripted_server.grpc_url, timeout=5) as client:
        assert client.replace(b"x", "y", timeout=math.inf).seed == 7
    assert scripted_server.timeouts == [None, None]


def test_numbers_of_any_kind_are_seconds():
    assert checked(5) == checked(5.0) == checked(type("Five", (), {"__float__": lambda self: 5.0})()) == 5.0


@pytest.mark.parametrize("retries", [-1, 1.5, None, "3"])
def test_what_is_no_number_of_retries_is_refused(retries):
    with pytest.raises(recast.InvalidOption, match="retries"):
        recast.Client("localhost:1", retries=retries)
