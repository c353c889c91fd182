"""More calls than a server can take: `test_<fault>_<expected>`. Each is an edit or `overloaded`; then all is well."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from recast import Client, Overloaded, RecastError
from recast.errors import translate
from tritonclient.utils import InferenceServerException

from serving.inflight import page, pending
from tests.launched import frozen, wait_for
from tests.served.pictures import encoded, tensor

STEPS = 4
LEAST = 8
"""Of model_repository/admit/config.pbtxt: places on the slowest machine."""


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120, retries=0) as running:
        yield running


@pytest.fixture
def outcome(client, scenes):
    """Asks for an edit of one of the scenes: "edit", or the name of the error, and the seconds that it took."""
    files = [(encoded(picture), name) for picture, name in scenes]

    def ask(number: int, steps: int = STEPS, **options) -> tuple[str, float]:
        data, name = files[number % len(files)]
        started = time.perf_counter()
        try:
            client.replace(data, f"Replace the {name} with a boat", seed=number, num_inference_steps=steps, **options)
        except RecastError as error:
            return error.name, time.perf_counter() - started
        return "edit", time.perf_counter() - started

    return ask


@pytest.fixture
def busy(outcome):
    """Runs a block while `count` edits are asked for; their outcomes are in the list when it ends."""

    class Busy:
        def __init__(self, count: int):
            self.pool = ThreadPoolExecutor(count)
            self.asked = [self.pool.submit(outcome, number) for number in range(count)]

        def __enter__(self):
            wait_for(lambda: any(asked.done() for asked in self.asked))  # an edit, or a refusal: all places are taken
            return self

        def __exit__(self, *_):
            self.pool.shutdown()
            self.names = Counter(asked.result()[0] for asked in self.asked)

    return Busy


def test_flood_each_call_is_an_edit_or_overloaded(outcome):
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(outcome, range(60)))
    names = Counter(name for name, _ in answers)
    assert set(names) == {"edit", "overloaded"}
    assert names["edit"] >= LEAST
    refusals = sorted(seconds for name, seconds in answers if name == "overloaded")
    edits = sorted(seconds for name, seconds in answers if name == "edit")
    assert refusals[len(refusals) // 2] < edits[len(edits) // 2]
    assert outcome(0)[0] == "edit"


def test_flood_nothing_is_computed_for_what_is_refused(server, busy):
    def parsed() -> int:
        with triton.InferenceServerClient(server.grpc_url) as raw:
            return sum(stats.inference_stats.success.count for stats in
                       raw.get_inference_statistics("parse").model_stats)  # fmt: skip

    before = parsed()
    with busy(40) as flood:
        pass
    assert flood.names["overloaded"] >= 10
    assert parsed() - before <= flood.names["edit"] + 3


def test_bulk_flood_interactive_is_let_in(outcome):
    over, full, names = threading.Event(), threading.Event(), []

    def keep_asking(number: int) -> None:
        while not over.is_set():
            names.append(outcome(number, priority="bulk")[0])
            if names[-1] == "overloaded":
                full.set()
                over.wait(0.2)

    with ThreadPoolExecutor(16) as pool:
        flood = [pool.submit(keep_asking, number) for number in range(16)]
        try:
            assert full.wait(60)
            assert [outcome(number)[0] for number in range(3)] == ["edit"] * 3
            wait_for(lambda: "edit" in names)
        finally:
            over.set()
    assert all(asked.result() is None for asked in flood)
    assert set(names) == {"edit", "overloaded"}


def test_interactive_flood_bulk_gets_its_turn(server, outcome, scenes):
    picture, name = scenes[0]
    over, full = threading.Event(), threading.Event()

    def keep_asking(number: int) -> None:
        while not over.is_set():
            if outcome(number)[0] == "overloaded":
                full.set()
                over.wait(0.2)

    with ThreadPoolExecutor(30) as pool, Client(server.grpc_url, timeout=120, retries=60) as patient:
        flood = [pool.submit(keep_asking, number) for number in range(30)]
        try:
            assert full.wait(60)
            assert patient.replace(picture, f"Remove the {name}", priority="bulk").intent == "remove"
        finally:
            over.set()
    assert all(asked.result() is None for asked in flood)


def test_deadline_in_the_queue_overloaded(server, scenes):
    """The caller's own timeout, in microseconds, ends the wait for an instance."""
    picture = scenes[0][0]
    mask = Image.fromarray(np.full((picture.height, picture.width), 255, np.uint8))
    values = {"image": encoded(picture), "mask_image": encoded(mask), "caption": b"a boat"}
    inputs = [tensor(name, value, "BYTES") for name, value in values.items()]

    def waiting() -> int:
        return pending(page(server.metrics_url))["inpaint"]

    with triton.InferenceServerClient(server.grpc_url) as raw, ThreadPoolExecutor(12) as pool:
        with frozen(server.pid, "unet"):
            others = [pool.submit(raw.infer, "inpaint", inputs) for _ in range(11)]
            wait_for(lambda: waiting() == len(others) - LEAST)
            impatient = pool.submit(raw.infer, "inpaint", inputs, timeout=100_000)
            wait_for(lambda: waiting() > len(others) - LEAST)
            time.sleep(0.2)  # Triton looks at a request's timeout when an instance is free
        with pytest.raises(InferenceServerException, match="timeout expired") as error:
            impatient.result()
        assert all(other.result() is not None for other in others)
    assert isinstance(translate(error.value, url=server.grpc_url, timeout=None), Overloaded)


def test_unknown_priority_invalid_option(server, scenes):
    picture, name = scenes[0]
    inputs = [tensor("image", encoded(picture), "BYTES"), tensor("prompt", f"Remove the {name}".encode(), "BYTES")]
    with triton.InferenceServerClient(server.grpc_url) as raw:
        with pytest.raises(InferenceServerException, match="invalid_option: the priority is interactive or bulk"):
            raw.infer("replace", inputs, parameters={"priority_class": "urgent"})


def test_refused_edit_tried_again_is_an_edit(server, busy, scenes):
    picture, name = scenes[0]
    with busy(40), Client(server.grpc_url, timeout=120, retries=30) as patient:
        assert patient.replace(picture, f"Remove the {name}", num_inference_steps=STEPS).intent == "remove"
