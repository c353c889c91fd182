"""A full server: who of one client's calls asks next, how often, and what a call that waits in vain is told."""

import asyncio
import random
import threading
import time

import pytest
import recast
from recast import waiting
from recast.deadline import Deadline
from recast.waiting import Line, Place

from tests.unit.client_answers import OVERLOADED, edit, until

CALLS, PLACES = 14, 2


class Admission:
    """A server's: `PLACES` calls at a time, the others are refused. `served` is the seeds in their order."""

    def __init__(self, fault):
        self._fault = fault
        self._places = threading.Semaphore(PLACES)
        self.served, self.refused = [], 0

    def __call__(self, model, inputs):
        if not self._places.acquire(blocking=False):
            self.refused += 1
            raise self._fault(*OVERLOADED)
        self.served.append(int(inputs["seed"].item()))
        time.sleep(0.05)
        self._places.release()
        return edit(seed=self.served[-1])


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 0.04)
    monkeypatch.setattr(waiting, "SHORTEST_PAUSE", 0.02)


def assert_nearly_in_order(served):
    assert sorted(served) == list(range(CALLS))
    assert all(abs(place - seed) <= PLACES for place, seed in enumerate(served)), served


def test_threads_are_served_in_the_order_of_their_coming(scripted_server, fault, soon):
    admission = Admission(fault)
    scripted_server.script = [admission]

    with recast.Client(scripted_server.grpc_url, timeout=60) as client:

        def ask(seed):
            (
                list(client.replace_stream(b"x", "y", seed=seed))
                if seed % 3 == 2
                else client.replace(b"x", "y", seed=seed)
            )

        threads = []
        for seed in range(CALLS):
            threads.append(threading.Thread(target=ask, args=(seed,)))
            threads[-1].start()
            # It is being served, or it waits: so the next one comes later.
            until(lambda: len(admission.served) + sum(map(len, client._server._lines.values())) > len(threads) - 2)
        for thread in threads:
            thread.join(30)
    assert_nearly_in_order(admission.served)


def test_tasks_are_served_in_the_order_of_their_coming(scripted_server, fault, soon):
    admission = Admission(fault)
    scripted_server.script = [admission]

    async def ask_all():
        async with recast.AsyncClient(scripted_server.grpc_url, timeout=60) as client:
            tasks = []
            for seed in range(CALLS):
                tasks.append(asyncio.ensure_future(client.replace(b"x", "y", seed=seed)))
                while len(admission.served) + sum(map(len, client._server._lines.values())) <= len(tasks) - 2:
                    await asyncio.sleep(0.002)
            return [result.seed for result in await asyncio.gather(*tasks)]

    assert len(asyncio.run(asyncio.wait_for(ask_all(), 60))) == CALLS
    assert_nearly_in_order(admission.served)


def test_thirty_threads_at_once_are_all_served(scripted_server, fault, soon):
    admission = Admission(fault)
    scripted_server.script = [admission]
    served = []
    with recast.Client(scripted_server.grpc_url, timeout=60, retries=1) as client:
        ask = lambda seed: served.append(client.replace(b"x", "y", seed=seed))  # noqa: E731
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(served) == 30


def test_one_client_asks_a_few_times_a_second_however_many_calls_wait(scripted_server, fault):
    scripted_server.script = [fault(*OVERLOADED)]
    failed = []
    with recast.Client(scripted_server.grpc_url, timeout=2) as client:

        def ask():
            with pytest.raises(recast.Overloaded) as error:
                client.replace(b"x", "y")
            failed.append(str(error.value))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(failed) == 12
    assert len(scripted_server.calls) <= 12 + 2 * 8  # each once, and a few a second for all of them


def test_a_bulk_edit_does_not_hold_up_an_interactive_one(scripted_server, fault):
    def answer(model, inputs):
        if scripted_server.parameters[-1].get("priority_class") == "bulk":
            raise fault(*OVERLOADED)
        return edit()

    scripted_server.script = [answer]
    with recast.Client(scripted_server.grpc_url, timeout=20) as client:

        def ask():
            with pytest.raises(recast.Overloaded):
                client.replace(b"x", "y", priority="bulk", timeout=1.5)

        bulk = threading.Thread(target=ask)
        bulk.start()
        until(lambda: client._server._lines and sum(map(len, client._server._lines.values())))
        assert client.replace(b"x", "y", timeout=1).seed == 7
        bulk.join(20)


def test_a_cancelled_head_gives_its_place_on(scripted_server, fault, soon):
    full = [True]

    def answer(model, inputs):
        if full[0]:
            raise fault(*OVERLOADED)
        return edit()

    scripted_server.script = [answer]

    async def run():
        async with recast.AsyncClient(scripted_server.grpc_url, timeout=20) as client:
            head = asyncio.ensure_future(client.replace(b"x", "y"))
            while not scripted_server.calls:
                await asyncio.sleep(0.002)
            second = asyncio.ensure_future(client.replace(b"x", "y"))
            await asyncio.sleep(0.1)
            head.cancel()
            full[0] = False
            return (await second).seed

    assert asyncio.run(asyncio.wait_for(run(), 15)) == 7


class Flag:
    """A signal for a line without a transport."""

    def __init__(self):
        self._event = asyncio.Event()
        self.set, self.clear = self._event.set, self._event.clear

    async def wait(self, seconds):
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            pass


def test_the_older_call_comes_first_whoever_enters_first(soon):
    async def run():
        line, order = Line(), []
        places = [Place(Flag()) for _ in range(4)]

        async def wait(number):
            assert await line.turn(places[number], Deadline(10))
            order.append(number)
            with line.asking(places[number]):
                pass

        with pytest.raises(recast.Overloaded), line.asking(places[0]):
            raise recast.Overloaded("full.")  # so that nobody may ask for a while
        await asyncio.gather(*[wait(number) for number in (2, 3, 1, 0)])
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3]


def test_a_deadline_in_the_line_ends_the_waiting():
    async def run():
        line = Line()
        head, second = Place(Flag()), Place(Flag())
        with pytest.raises(recast.Overloaded), line.asking(head):
            raise recast.Overloaded("full.")
        turns = await asyncio.gather(line.turn(head, Deadline(10)), line.turn(second, Deadline(0.05)))
        assert turns == [True, False]
        assert len(line) == 0

    asyncio.run(run())


def test_who_waited_longest_asks_most_often(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    pauses = [waiting.pause_after(waited) for waited in (0, 1, 10, 60, 3600)]
    assert pauses == sorted(pauses, reverse=True)
    assert (pauses[0], pauses[-1]) == (waiting.LONGEST_PAUSE, waiting.SHORTEST_PAUSE)
