"""The client's policies that need no server: pauses, deadlines, channel options, coroutines."""

import asyncio
import math

import pytest
from recast import conversation
from recast.transport import channel_args, finish
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE


def test_backoff_grows_and_is_bounded():
    pauses = list(conversation.backoff(12))
    assert 0.1 <= pauses[0] <= 0.2
    assert all(1 <= pause <= conversation.LONGEST_PAUSE for pause in pauses[6:])
    assert list(conversation.backoff(0)) == []


def test_deadline_never_goes_below_zero():
    assert conversation.Deadline(-1.0).left() == 0.0
    assert conversation.Deadline(None).left() is None
    assert conversation.Deadline(None).allows(math.inf)
    assert conversation.Deadline(9.0).allows(1.0)
    assert not conversation.Deadline(1.0).allows(9.0)


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
