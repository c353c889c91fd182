"""Callers that cancel, die or run out of time: `test_<fault>_<expected>`, by what Triton counts as executed."""

import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import nullcontext

import pytest
import recast
import tritonclient.grpc as triton

from serving.launcher.drain import QUIET
from tests.launched import edits_under_way, frozen
from tests.served.pictures import encoded, tensor
from tests.served.triton_calls import executions

SLOW = {"num_inference_steps": 50, "num_images": 8}
"""An edit whose steps are long beside the time that a message takes."""

CLIENTS = """
import asyncio, sys
import recast

async def follow(client):
    async for step in client.replace_stream(sys.argv[2], sys.argv[3], num_inference_steps=50, num_images=8):
        if step.stage == "inpaint":
            print(step.step, flush=True)

async def main():
    async with recast.AsyncClient(sys.argv[1]) as client:
        await asyncio.gather(*(follow(client) for _ in range(int(sys.argv[4]))))

asyncio.run(main())
"""


@pytest.fixture
def client(server):
    with recast.Client(server.grpc_url) as running:
        yield running


@pytest.fixture(scope="module")
def wish(scenes, tmp_path_factory):
    """The file of a picture, and a sentence about a thing in it."""
    picture, name = scenes[0]
    file = tmp_path_factory.mktemp("pictures") / "scene.png"
    file.write_bytes(encoded(picture))
    return file, f"Replace the {name} with a boat"


@pytest.fixture
def executed(server):
    """How often a model has executed; the UNet, once a denoising step."""
    return lambda model="unet": executions(server.grpc_url, model)


@pytest.fixture
def settled(server, executed):
    """The UNet's executions once no edit is under way."""

    def wait() -> int:
        since = start = time.monotonic()
        while time.monotonic() - since < QUIET:
            now = time.monotonic()
            assert now - start < 60, "the work goes on"
            since = now if edits_under_way(server) else since
            time.sleep(0.05)
        return executed()

    return wait


def leave(clients: int, wish, server, reported: int) -> None:
    """Kill a process with so many streams when it has been told of so many steps, before there are more of them."""
    command = [sys.executable, "-c", CLIENTS, server.grpc_url, *map(str, wish), str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(reported):
            assert process.stdout.readline().strip().isdecimal()
        with frozen(server.pid, "unet"):
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_cancel_at_step_3_of_50_ends_within_one_step(server, client, wish, executed, settled):
    before = settled()
    steps = client.replace_stream(*wish, **SLOW)
    while next(steps) != recast.Progress("inpaint", 3, 50):
        pass
    with frozen(server.pid, "unet"):
        at_the_cancel = executed() - before
        steps.close()
        client.status()  # over the same connection: the server has read what was sent before
    assert 3 <= at_the_cancel < 50
    assert settled() - before <= at_the_cancel + 1
    assert list(client.replace_stream(*wish, num_inference_steps=2))[-1].pngs


def test_ctrl_c_of_the_command_stops_the_server_too(server, wish, executed, settled, tmp_path):
    before = settled()
    words = ["edit", *map(str, wish), "--steps", "50", "--num-images", "8", "-o", str(tmp_path / "out.png")]
    command = [sys.executable, "-m", "recast", *words, "--url", server.grpc_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while executed() < before + 3:
            assert process.poll() is None
            time.sleep(0.05)
        with frozen(server.pid, "unet"):
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)
    assert (process.returncode, *said) == (130, "", "recast: stopped.\n")
    assert settled() - before < 15


def test_killed_client_ends_its_work(server, wish, settled):
    before = settled()
    leave(1, wish, server, reported=3)
    assert settled() - before < 10


def test_twenty_clients_that_vanish_leave_nothing(server, client, wish, executed, settled):
    before, parsed = settled(), executed("parse")
    leave(20, wish, server, reported=10)  # eight at work, twelve in the queue
    assert settled() - before < 8 * 10
    assert executed("parse") - parsed <= 8, "one that waited was begun after its caller had left"
    page = urllib.request.urlopen(f"http://{server.metrics_url}/metrics").read().decode()
    waiting = [line for line in page.splitlines() if line.startswith("nv_inference_pending_request_count{")]
    assert waiting
    assert [line for line in waiting if not line.endswith(" 0")] == []
    assert list(client.replace_stream(*wish, num_inference_steps=2, timeout=60))[-1].pngs


def test_streams_that_ended_let_go_of_the_model(operated, wish):
    for ending in ("edit", "error", "cancelled"):
        steps = operated.client.replace_stream(*wish, num_inference_steps=0 if ending == "error" else 2)
        with nullcontext() if ending != "error" else pytest.raises(recast.InvalidOption):
            while not isinstance(next(steps), recast.Edit) and ending != "cancelled":
                pass
        steps.close()
    control = operated.server.control
    control.unload("replace_stream")
    start = time.monotonic()
    while set(control.states().get("replace_stream", {}).values()) - {"UNAVAILABLE"}:
        assert time.monotonic() - start < 60, "Triton holds the model for a stream that has ended"
        time.sleep(0.2)
    control.load("replace_stream")


@pytest.fixture
def ten_steps(client, wish) -> float:
    """Seconds until the tenth of the steps of SLOW."""
    client.replace(*wish, num_inference_steps=1)
    start = time.monotonic()
    steps = client.replace_stream(*wish, **SLOW)
    while next(steps) != recast.Progress("inpaint", 10, 50):
        pass
    steps.close()
    return time.monotonic() - start


def test_deadline_between_steps_stops_the_edit(client, wish, settled, ten_steps):
    for ask in (client.replace, lambda *wish, **options: list(client.replace_stream(*wish, **options))):
        before = settled()
        with pytest.raises(recast.DeadlineExceeded):
            ask(*wish, **SLOW, timeout=ten_steps)
        assert settled() - before < 40


def test_deadline_that_only_the_server_knows_is_cancelled(server, wish, ten_steps):
    raw = triton.InferenceServerClient(server.grpc_url)
    picture, sentence = wish
    inputs = [
        tensor("image", picture.read_bytes(), "BYTES"),
        tensor("prompt", sentence.encode(), "BYTES"),
        tensor("num_inference_steps", 50, "INT32"),
        tensor("num_images", 8, "INT32"),
    ]
    with pytest.raises(triton.InferenceServerException, match="cancelled: the deadline passed") as raised:
        raw.infer("replace", inputs, timeout=int(ten_steps * 1e6))
    assert raised.value.status() == "StatusCode.CANCELLED"
