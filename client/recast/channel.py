"""How gRPC is set: its channels' options, and its friends."""

from __future__ import annotations

import sys

from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE

from .address import Address

PROMPT_KEEPALIVE, PATIENT_KEEPALIVE = 45, 310
"""Seconds of silence on a connection with calls in flight, after which gRPC asks whether the server is still there.

A server with gRPC's own limits ends every call ("Too many pings") at the fourth ping that comes within 300 s without a
word of its own in between. So calls of at most PROMPT_SECONDS, in which there are two, have connections that ask soon.
"""
KEEPALIVE_TIMEOUT = 20
"""Seconds in which it has to answer that."""
PROMPT_SECONDS = 130.0


def keepalive_of(seconds: float | None) -> int:
    """The keepalive, in seconds, of the connection for a call that gRPC ends after `seconds`; None is never."""
    return PROMPT_KEEPALIVE if seconds is not None and seconds <= PROMPT_SECONDS else PATIENT_KEEPALIVE


def channel_args(address: Address, keepalive: int) -> list[tuple[str, int]]:
    """gRPC channel options. Giving any replaces tritonclient's own, so its message limits come along."""
    arguments = [
        ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
        ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
        # A server that restarts is found again within seconds; gRPC alone would wait up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Only while calls are in flight: gRPC's default.
        ("grpc.keepalive_time_ms", keepalive * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT * 1000),
        # gRPC's other pings too, for which it would wait a minute, and send none of keepalive's meanwhile.
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT * 1000),
    ]
    if address.is_local:
        # An http_proxy variable would otherwise catch calls to this very machine.
        arguments.append(("grpc.enable_http_proxy", 0))
    return arguments


def befriend_gevent() -> None:
    """Where gevent has replaced Python's threads, gRPC has to know: its streams would never hear an answer."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        from grpc.experimental import gevent

        gevent.init_gevent()
