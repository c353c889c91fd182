"""Which edits are admitted, by a scripted measurement."""

import http.client
import threading

import pytest

from serving.errors import EditError
from serving.steps import admission
from serving.steps.admission import BULK_WAITS, INTERVAL, WINDOW, Gate, Limits, watch

LIMITS = Limits(all=10, least=4, seconds=3, bulk=3, bulk_turn=5)


class Service:
    """Edits under way behind a gate, which sees how many when it samples."""

    def __init__(self, limits=LIMITS):
        self.now, self.under_way = 0.0, 0
        self.gate = Gate(limits, lambda: self.under_way, lambda: self.now)

    def enters(self, priority="interactive") -> bool:
        try:
            self.gate.enter(priority)
        except EditError:
            return False
        self.under_way += 1
        return True

    def passes(self, seconds=WINDOW, seen=None):
        """Time goes by, sampled; `seen` is how many edits are seen of those under way."""
        under_way, self.under_way = self.under_way, self.under_way if seen is None else seen
        for _ in range(round(seconds / INTERVAL) + 1):
            self.now += INTERVAL
            self.gate.sample()
        self.under_way = under_way

    def ends(self, edits=1):
        self.under_way -= edits
        self.passes()

    def works(self, seconds, rate, asked=99.0):
        """Edits end, `rate` a second while any are under way, as `asked` a second are asked for."""
        began, ended, came = self.now, 0, 0.0
        while self.now - began < seconds:
            came += asked * INTERVAL
            while came >= 1:
                came -= 1
                self.enters()
            due = min(int((self.now - began) * rate) - ended, self.under_way)
            ended += due
            self.under_way -= due
            self.passes(0)


def test_as_many_edits_are_admitted_as_may_be_under_way():
    service = Service()
    assert [service.enters() for _ in range(12)] == [True] * 10 + [False] * 2
    service.ends(4)
    assert [service.enters() for _ in range(6)] == [True] * 4 + [False] * 2


def test_a_refusal_says_what_to_do():
    service = Service()
    while service.enters():
        pass
    with pytest.raises(EditError, match=r"overloaded: as many edits .*try again"):
        service.gate.enter("interactive")


@pytest.mark.parametrize(("rate", "limit"), [(0.1, 4), (1, 4), (2, 6), (3, 9), (20, 10)])
def test_as_many_are_admitted_as_end_in_time(rate, limit):
    service = Service()
    service.works(40, rate)
    assert abs(service.gate.limit() - limit) <= 1
    assert LIMITS.least <= service.gate.limit() <= LIMITS.all


def test_who_is_asked_for_little_keeps_its_limit():
    service = Service()
    service.works(40, 3)
    service.works(60, 3, asked=0.5)
    assert service.gate.limit() in (8, 9)


def test_a_burst_after_little_finds_the_highest_limit():
    service = Service()
    service.works(60, 3, asked=0.5)
    assert service.gate.limit() == LIMITS.all


def test_the_limit_follows_the_throughput_down_and_up():
    service = Service()
    service.works(40, 3)
    service.works(40, 0.5)
    assert service.gate.limit() == 4
    service.works(40, 3)
    assert service.gate.limit() >= 8


def test_bulk_gets_half_of_a_low_limit():
    service = Service(Limits(all=10, least=4, seconds=3, bulk=6, bulk_turn=5))
    assert sum(service.enters("bulk") for _ in range(9)) == 5
    service.works(40, 0.5)
    service.ends(service.under_way)
    assert sum(service.enters("bulk") for _ in range(9)) == 2


def test_edits_on_their_way_between_two_steps_count():
    service = Service()
    assert sum(service.enters() for _ in range(20)) == 10
    service.passes()
    service.passes(WINDOW / 2, seen=2)
    assert not service.enters()


def test_edits_that_were_lost_count_no_more():
    service = Service()
    assert sum(service.enters() for _ in range(20)) == 10
    service.ends(10)  # they failed, were cancelled, died with their process: no one says so
    assert sum(service.enters() for _ in range(20)) == 10


def test_a_gate_is_idle_when_nothing_can_be_under_way():
    service = Service()
    assert service.gate.idle()
    assert service.enters()
    service.passes(INTERVAL, seen=0)
    assert not service.gate.idle()  # on its way to the first step
    service.passes(3 * WINDOW)
    assert not service.gate.idle()
    service.ends()
    assert service.gate.idle()


def test_bulk_leaves_room_to_interactive():
    service = Service()
    assert sum(service.enters("bulk") for _ in range(3)) == 3
    assert sum(service.enters() for _ in range(7)) == 7


def test_bulk_keeps_room_for_interactive_and_gets_its_turn():
    service = Service()
    assert sum(service.enters("bulk") for _ in range(9)) == 3
    assert sum(service.enters() for _ in range(9)) == 6  # the last one is kept for the bulk edit that waits
    assert service.enters("bulk")


def test_bulk_gets_its_turn_however_many_interactive_come():
    service = Service()
    admitted = {"interactive": 0, "bulk": 0}
    for _ in range(200):
        for priority in ("interactive", "interactive", "bulk", "interactive"):
            admitted[priority] += service.enters(priority)
        service.ends(min(1, service.under_way))
    assert 0.18 < admitted["bulk"] / sum(admitted.values()) < 0.25


def test_no_room_is_kept_for_bulk_that_went_away():
    service = Service()
    assert sum(service.enters() for _ in range(10)) == 10
    assert not service.enters("bulk")
    for _ in range(4):
        service.ends()
        assert service.enters()
    service.ends()
    assert not service.enters()  # kept for the bulk edit that waits
    service.now += BULK_WAITS
    assert service.enters()


@pytest.mark.parametrize("priority", ["urgent", "", 3, None])
def test_an_unknown_priority_is_an_invalid_option(priority):
    with pytest.raises(EditError, match="interactive or bulk") as error:
        Service().gate.enter(priority)
    assert error.value.name == "invalid_option"


@pytest.mark.parametrize(
    "numbers", [(0, 2, 3, 0, 5), (5, 2, 3, 6, 5), (5, 2, 3, 0, 5), (5, 2, 3, 5, 1), (5, 6, 3, 5, 5), (5, 2, 0, 5, 5)]
)
def test_impossible_limits_are_an_error(numbers):
    with pytest.raises(ValueError, match="cannot be"):
        Limits(*numbers)


@pytest.mark.parametrize(
    "error",
    [
        OSError("refused"),
        http.client.BadStatusLine("no HTTP"),
        http.client.IncompleteRead(b"half"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"),
        ValueError("could not convert string to float"),
    ],
)
def test_what_cannot_be_measured_admits_everybody_and_is_measured_again(monkeypatch, error):
    """Each edit wakes the thread that samples; had it ended, those admitted since would count for good."""
    monkeypatch.setattr(admission, "INTERVAL", 0.005)
    monkeypatch.setattr(admission, "WINDOW", 0.05)
    failed: list[Exception] = []
    sampled = threading.Semaphore(0)

    def measure() -> int:
        raise error

    def note(error: Exception) -> None:
        failed.append(error)
        sampled.release()

    gate = Gate(LIMITS, measure)
    threading.Thread(target=watch, args=(gate, note), daemon=True).start()
    for _ in range(3):
        for _ in range(LIMITS.all):
            gate.enter("interactive")
        while not gate.idle():
            assert sampled.acquire(timeout=30)
    assert set(failed) == {error}


def test_nothing_is_learnt_of_the_throughput_without_a_measurement():
    service = Service()
    service.works(40, 3)
    learnt = service.gate.throughput.rate
    for _ in range(200):
        service.enters()
        service.now += INTERVAL
        service.gate.cannot_sample()
    service.passes()
    assert service.gate.throughput.rate == learnt
