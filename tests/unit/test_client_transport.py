"""The transports' parts that need no server: channel options, and coroutines run to their end."""

import asyncio

import pytest
from recast.transport import channel_args, finish
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE


def test_message_limits_survive_the_other_channel_options():
    options = dict(channel_args("recast.example:8001"))
    assert options["grpc.max_send_message_length"] == MAX_GRPC_MESSAGE_SIZE
    assert options["grpc.max_receive_message_length"] == MAX_GRPC_MESSAGE_SIZE


def test_proxies_are_left_out_for_this_machine_only():
    assert dict(channel_args("localhost:8001"))["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in dict(channel_args("recast.example:8001"))


def test_finish_refuses_a_coroutine_that_waits():
    async def ready() -> int:
        return 5

    assert finish(ready()) == 5
    with pytest.raises(RuntimeError, match="suspended"):
        finish(asyncio.sleep(0))
