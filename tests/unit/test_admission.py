"""Who is let in, by a scripted measurement; requests at hand, told between processes."""

import os
import signal
import subprocess
import sys

import pytest

from serving.errors import EditError
from serving.inflight import InFlight, in_flight, pending
from serving.steps.admission import BULK_WAITS, INTERVAL, WINDOW, Gate, Places

PLACES = Places(all=10, least=4, seconds=3, bulk=3, bulk_turn=5)


class Service:
    """Edits under way behind a gate, which sees how many when it samples."""

    def __init__(self, places=PLACES):
        self.now, self.under_way = 0.0, 0
        self.gate = Gate(places, lambda: self.under_way, lambda: self.now)

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


def test_there_are_as_many_edits_as_places():
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


@pytest.mark.parametrize(("rate", "places"), [(0.1, 4), (1, 4), (2, 6), (3, 9), (20, 10)])
def test_as_many_are_let_in_as_end_in_time(rate, places):
    service = Service()
    service.works(40, rate)
    assert abs(service.gate.limit() - places) <= 1
    assert PLACES.least <= service.gate.limit() <= PLACES.all


def test_who_is_asked_for_little_keeps_its_places():
    service = Service()
    service.works(40, 3)
    service.works(60, 3, asked=0.5)
    assert service.gate.limit() in (8, 9)


def test_a_burst_after_little_finds_all_places():
    service = Service()
    service.works(60, 3, asked=0.5)
    assert service.gate.limit() == PLACES.all


def test_places_follow_the_pace_down_and_up():
    service = Service()
    service.works(40, 3)
    service.works(40, 0.5)
    assert service.gate.limit() == 4
    service.works(40, 3)
    assert service.gate.limit() >= 8


def test_bulk_gets_half_of_few_places():
    service = Service(Places(all=10, least=4, seconds=3, bulk=6, bulk_turn=5))
    assert sum(service.enters("bulk") for _ in range(9)) == 5
    service.works(40, 0.5)
    service.ends(service.under_way)
    assert sum(service.enters("bulk") for _ in range(9)) == 2


def test_edits_on_their_way_between_two_steps_keep_their_places():
    service = Service()
    assert sum(service.enters() for _ in range(20)) == 10
    service.passes()
    service.passes(WINDOW / 2, seen=2)
    assert not service.enters()


def test_edits_that_were_lost_leave_no_place_taken():
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


def test_bulk_leaves_places_to_interactive():
    service = Service()
    assert sum(service.enters("bulk") for _ in range(3)) == 3
    assert sum(service.enters() for _ in range(7)) == 7


def test_bulk_keeps_room_for_interactive_and_gets_its_turn():
    service = Service()
    assert sum(service.enters("bulk") for _ in range(9)) == 3
    assert sum(service.enters() for _ in range(9)) == 6  # the last place is kept for the bulk edit that waits
    assert service.enters("bulk")


def test_bulk_gets_its_turn_however_many_interactive_come():
    service = Service()
    let_in = {"interactive": 0, "bulk": 0}
    for _ in range(200):
        for priority in ("interactive", "interactive", "bulk", "interactive"):
            let_in[priority] += service.enters(priority)
        service.ends(min(1, service.under_way))
    assert 0.18 < let_in["bulk"] / sum(let_in.values()) < 0.25


def test_no_place_is_kept_for_bulk_that_went_away():
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
def test_impossible_places_are_an_error(numbers):
    with pytest.raises(ValueError, match="cannot be"):
        Places(*numbers)


def test_waiting_requests_are_read_from_a_page_of_metrics():
    page = """# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="inpaint",version="1"} 3
nv_inference_pending_request_count{model="inpaint",version="2"} 4
nv_inference_pending_request_count{model="mask",version="1"} 1
nv_inference_pending_request_count{model="unet",version="1"} 99
nv_inference_exec_count{model="parse",version="1"} 50
"""
    assert pending(page) == {"inpaint": 7, "mask": 1, "parse": 0}


MODELS = frozenset({"mask"})


def test_requests_at_hand_are_counted_while_they_last(tmp_path):
    mine = InFlight("mask", tmp_path)
    other = InFlight("unknown", tmp_path)
    with mine.counting(3), mine.counting(2), other.counting(9):
        assert list(in_flight(tmp_path, MODELS).values()) == [5]
    with pytest.raises(ZeroDivisionError), mine.counting(4):
        raise ZeroDivisionError
    assert list(in_flight(tmp_path, MODELS).values()) == [0]


def test_what_a_killed_process_had_at_hand_is_not_counted(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from serving.inflight import InFlight\n"
        "with InFlight('mask', Path(sys.argv[1])).counting(7):\n print('holding', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert list(in_flight(tmp_path, MODELS).values()) == [7]
        os.kill(process.pid, signal.SIGKILL)
    assert in_flight(tmp_path, MODELS) == {}
    assert list(tmp_path.iterdir()) == []
