"""Processes that are killed or stopped under load: they come back by themselves, and who tries again never notices."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from recast import Client, RecastError, Restarting

from export.demo import world
from serving.diffusion.options import MAX_STEPS
from tests.launched import Launched, frozen, wait_for
from tests.served.triton_calls import executions

SCENE = world.scene(world.HELD_OUT, (256, 192))
PICTURE = Image.fromarray(SCENE.image)
SENTENCE = f"Replace the {SCENE.things[0].kind} with a boat"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Launched(tmp_path_factory.mktemp("kill") / "log", "--hung-after=10") as launched:
        yield launched


class Load:
    """Edits one after the other, by a client that tries again and by one that does not, while the block runs."""

    def __init__(self, url: str) -> None:
        self.edits: list[float] = []
        self.lost: list[Restarting] = []
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(3)
        self._patient = Client(url, timeout=120)
        self._plain = Client(url, timeout=120, retries=0)

    def __enter__(self) -> "Load":
        self._workers = [self._pool.submit(self._edit, client) for client in (self._patient, self._plain, self._plain)]
        wait_for(lambda: len(self.edits) > 3)
        return self

    def __exit__(self, *exception) -> None:
        self._ended.set()
        for worker in self._workers:
            worker.result()  # raises whatever another error than Restarting was
        self._patient.close()
        self._plain.close()

    def _edit(self, client: Client) -> None:
        while not self._ended.is_set():
            try:
                client.replace(PICTURE, SENTENCE, num_inference_steps=8)
                self.edits.append(time.monotonic())
            except Restarting as error:
                if client is self._patient:
                    raise
                self.lost.append(error)
                time.sleep(0.2)

    def goes_on(self) -> None:
        """Wait for edits that began after this moment."""
        now = len(self.edits)
        wait_for(lambda: len(self.edits) > now + 5, 120)


def strike(running: Launched, model: str, number: signal.Signals) -> None:
    """Send a signal to every process of `model`, and wait until others serve it."""
    struck = running.stubs(model)
    assert struck
    for stub in struck:
        os.kill(stub.pid, number)
    pids = {stub.pid for stub in struck}
    wait_for(lambda: len({stub.pid for stub in running.stubs(model)} - pids) == len(pids))


@pytest.mark.parametrize("model", ["parse", "mask", "inpaint", "unet"])
def test_killed_step_comes_back(running, model):
    with Load(running.grpc_url) as load:
        strike(running, model, signal.SIGKILL)
        load.goes_on()
    assert f"recast: '{model}': a process of it ended; started again" in running.log.read_text()


def test_stopped_network_is_cut_off(running):
    with Load(running.grpc_url) as load:
        strike(running, "vae_decoder", signal.SIGSTOP)
        load.goes_on()
    assert load.lost


def test_killed_server_comes_back_on_its_ports(running):
    pid = running.server
    with Load(running.grpc_url) as load:
        os.kill(pid, signal.SIGKILL)
        load.goes_on()
    assert running.server != pid
    assert load.lost


def test_asked_to_stop_server_finishes_what_runs(running):
    pid = running.server
    with Client(running.grpc_url, retries=0) as client, ThreadPoolExecutor(1) as pool:

        def refused() -> bool:
            with pytest.raises(RecastError) as error:
                client.replace(b"no picture", SENTENCE)
            return isinstance(error.value, Restarting)

        begun = executions(running.grpc_url, "vae_encoder")
        running_edit = pool.submit(client.replace, PICTURE, SENTENCE, num_inference_steps=MAX_STEPS, num_images=2)
        wait_for(lambda: executions(running.grpc_url, "vae_encoder") > begun)
        with frozen(pid, "unet"):
            running.process.send_signal(signal.SIGTERM)
            wait_for(refused)
            assert not running_edit.done()
        assert running_edit.result().picture.size == PICTURE.size
        assert running.process.wait(60) == 0
    assert not Path(f"/proc/{pid}").exists()
