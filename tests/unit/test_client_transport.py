"""The transports' parts that need no server: channel options, and coroutines run to their end."""

import asyncio

import pytest
from recast.address import address
from recast.channel import PATIENT_KEEPALIVE, PROMPT_KEEPALIVE, channel_args, keepalive_of
from recast.transport import finish
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE


def options(url: str) -> dict[str, int]:
    return dict(channel_args(address(url), PROMPT_KEEPALIVE))


def test_message_limits_survive_the_other_channel_options():
    assert options("recast.example:8001")["grpc.max_send_message_length"] == MAX_GRPC_MESSAGE_SIZE
    assert options("recast.example:8001")["grpc.max_receive_message_length"] == MAX_GRPC_MESSAGE_SIZE


@pytest.mark.parametrize(
    "url",
    ["localhost:8001", "LOCALHOST", "127.0.0.1:8001", "127.1.2.3:1", "[::1]:8001", "0.0.0.0", "grpc://localhost:8001"],
)
def test_proxies_are_left_out_for_this_machine_only(url):
    assert options(url)["grpc.enable_http_proxy"] == 0
    for far in ("recast.example:8001", "localhost.example:8001", "10.0.0.1", "dns:///recast.example:8001"):
        assert "grpc.enable_http_proxy" not in options(far)


@pytest.mark.parametrize("seconds", [0.1, 122.0, 130.0, 131.0, 3600.0, None])
def test_no_call_sends_more_pings_than_a_server_with_grpcs_own_limits_allows(seconds):
    # Two without a word of the server, and after them one in 300 s.
    keepalive = keepalive_of(seconds)
    assert keepalive > 300 or seconds // keepalive <= 2


def test_keepalive_is_sent_and_in_a_default_call_it_comes_before_the_deadline():
    assert options("recast.example")["grpc.keepalive_time_ms"] == 45_000
    assert dict(channel_args(address("x"), PATIENT_KEEPALIVE))["grpc.keepalive_time_ms"] > 300_000
    assert keepalive_of(122) + 20 < 120


def test_finish_refuses_a_coroutine_that_waits():
    async def ready() -> int:
        return 5

    assert finish(ready()) == 5
    with pytest.raises(RuntimeError, match="suspended"):
        finish(asyncio.sleep(0))
