"""A client's life: event loops that come and go, its end, and the processes that it lives in."""

import asyncio
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
import recast
from recast import async_transport

from tests.unit.client_answers import edit, until

NEEDS_GEVENT = pytest.mark.skipif(find_spec("gevent") is None, reason="needs gevent")


def test_a_client_of_a_module_works_in_one_event_loop_after_another(scripted_server):
    scripted_server.script = [edit()]
    client = recast.AsyncClient(scripted_server.grpc_url, timeout=20)

    async def ask() -> int:
        steps = [step async for step in client.replace_stream(b"x", "y")]
        return (await client.replace(b"x", "y")).seed + steps[-1].seed

    assert [asyncio.run(ask()) for _ in range(3)] == [14, 14, 14]
    asyncio.run(client.close())


def test_two_event_loops_at_once_share_a_client(scripted_server):
    scripted_server.script = [edit()]
    client, seeds = recast.AsyncClient(scripted_server.grpc_url, timeout=20), []

    async def ask() -> list[int]:
        return [(await client.replace(b"x", "y")).seed for _ in range(10)]

    threads = [threading.Thread(target=lambda: seeds.extend(asyncio.run(ask()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seeds == [7] * 20


def test_use_after_close_is_told(scripted_server, connect):
    scripted_server.script = [edit()]
    client = connect(scripted_server.grpc_url)
    client.replace(b"x", "y")
    client.close()
    client.close()
    for ask in (
        lambda: client.replace(b"x", "y"),
        lambda: list(client.replace_stream(b"x", "y")),
        lambda: client.parse("y"),
        lambda: client.mask(b"x", "y"),
        client.status,
    ):
        with pytest.raises(recast.ClientClosed, match="closed"):
            ask()
    assert len(scripted_server.calls) == 1


def test_close_before_any_call_is_told_too(connect):
    client = connect("localhost:1")
    client.close()
    with pytest.raises(recast.ClientClosed):
        client.status()


def test_a_call_is_not_cancelled_on_the_server_as_it_arrives(scripted_server, monkeypatch):
    """Task cancelled at once: the call goes on until it has settled, and is cancelled then."""
    monkeypatch.setattr(async_transport, "SETTLED", 0.4)
    done = threading.Event()
    scripted_server.held.clear()
    scripted_server.script = [lambda model, inputs: done.wait(20) and edit()]

    async def ask() -> None:
        client = recast.AsyncClient(scripted_server.grpc_url, timeout=20)
        task = asyncio.ensure_future(client.parse("y"))
        while not scripted_server.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not scripted_server.cancelled.is_set()
        await client.close()  # waits for it

    asyncio.run(ask())
    until(scripted_server.cancelled.is_set)
    done.set()


GEVENT = """
import sys
how = sys.argv[2]
if "patched" in how:
    from gevent import monkey
    monkey.patch_all()
if "init" in how:
    from grpc.experimental import gevent as grpc_gevent
    grpc_gevent.init_gevent()
import gevent
import recast

unclosed = recast.Client(sys.argv[1], timeout=20)
assert unclosed.status().ready
with recast.Client(sys.argv[1], timeout=20) as client:
    asked = [gevent.spawn(lambda: client.replace(b"x", "y").seed) for _ in range(3)]
    asked += [gevent.spawn(lambda: list(client.replace_stream(b"x", "y"))[-1].seed) for _ in range(3)]
    gevent.joinall(asked, raise_error=True)
    steps = client.replace_stream(b"x", "y")
    next(steps)
    steps.close()
    print(sum(each.value for each in asked))
"""


UNFINISHED = """
import sys
if sys.argv[2] == "patched":
    from gevent import monkey
    monkey.patch_all()
import recast

client = recast.Client(sys.argv[1], timeout=600)
steps = client.replace_stream(b"x", "y")
print(next(steps).stage)
"""


def ended(script: str, *arguments: str) -> str:
    """What a process prints that runs `script` and ends by itself."""
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.parametrize("how", ["plain", pytest.param("patched", marks=NEEDS_GEVENT)])
def test_a_process_ends_whose_stream_has_not_and_so_does_the_stream(scripted_server, how):
    scripted_server.script = [edit()]
    scripted_server.held.clear()
    assert ended(UNFINISHED, scripted_server.grpc_url, how) == "parse"
    until(scripted_server.cancelled.is_set)


def test_closing_a_client_ends_its_streams(scripted_server):
    scripted_server.script = [edit()]
    scripted_server.held.clear()
    client = recast.Client(scripted_server.grpc_url, timeout=60)
    steps = client.replace_stream(b"x", "y")
    next(steps)
    client.close()
    with pytest.raises(recast.Cancelled):
        list(steps)
    until(scripted_server.cancelled.is_set)


@NEEDS_GEVENT
@pytest.mark.parametrize("how", ["plain", "init", "patched", "patched init"])
def test_gevent_with_and_without_grpcs_part_for_it_works_and_ends(scripted_server, how):
    scripted_server.script = [edit()]
    assert ended(GEVENT, scripted_server.grpc_url, how) == "42"
