"""What the supervisor takes for dead, with processes and a server that are made up."""

from collections import namedtuple
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from serving.launcher import supervisor
from serving.launcher.preflight import LaunchError
from serving.launcher.processes import Stub
from serving.launcher.server import RunningServer
from serving.launcher.server_options import ServerOptions
from serving.launcher.supervisor import LONGEST_PAUSE, STARTS, Supervisor

Process = namedtuple("Process", ["pid", "started"])  # equal as psutil's are


class Control:
    """What is asked of the server, whose models are all READY."""

    def __init__(self):
        self.calls = []

    def live(self, timeout):
        return True

    def states(self):
        return {model: {"1": "READY"} for model in ("mask", "parse")}

    def load(self, model):
        self.calls.append(("load", model))

    def unload(self, model):
        self.calls.append(("unload", model))


@pytest.fixture
def looked(monkeypatch, tmp_path):
    """Looks at these stubs, one look after the other, and returns what the server was asked for."""

    def looked(*looks):
        control = Control()
        options = ServerOptions(tmp_path, ready_model="tally")
        server = SimpleNamespace(options=options, control=control, pid=1, poll=lambda: None)
        now = []
        monkeypatch.setattr(supervisor, "stubs", lambda pid: now)
        monkeypatch.setattr(supervisor, "FOLDER", tmp_path)
        for number, stubs in enumerate(looks):
            now[:] = stubs
            if number == 0:
                watching = Supervisor(server)
            else:
                watching.look()
        return control.calls

    return looked


def stub(model, pid, started=0, instance=0):
    return Stub(Process(pid, started), model, "1", f"{model}_0_{instance}", f"region-{pid}", stopped=False)


def test_a_model_of_which_a_process_ended_is_loaded_again(looked):
    assert looked([stub("mask", 5), stub("parse", 6)], [stub("parse", 6)]) == [("unload", "mask"), ("load", "mask")]


def test_nothing_is_loaded_while_all_live(looked):
    assert looked([stub("mask", 5), stub("parse", 6)], [stub("parse", 6), stub("mask", 5)]) == []


def test_a_process_with_the_id_of_a_dead_one_does_not_hide_its_death(looked):
    """Ids come again: here another model's new process got it."""
    before, after = [stub("mask", 5), stub("parse", 6)], [stub("parse", 5, started=9), stub("parse", 6)]
    assert looked(before, after) == [("unload", "mask"), ("load", "mask")]


def test_a_process_that_a_load_replaced_is_no_death(looked):
    assert looked([stub("mask", 5)], [stub("mask", 7, started=9)]) == []


class Falling:
    """A tritonserver that has ended, by signal 11 or not; `starts` says how many of its starts come up first."""

    def __init__(self, folder, *, by_signal, starts=float("inf")):
        self.options = ServerOptions(folder, ready_model="tally")
        self.control, self.pid = Control(), 1
        self.by_signal, self.starts = by_signal, starts
        self.started = 0

    def poll(self):
        return -11 if self.by_signal else 1

    def crashed(self):
        return self.by_signal

    def restart(self):
        self.started += 1
        if self.started > self.starts:
            self.by_signal = False
            raise LaunchError("a model failed to load.")


@pytest.fixture
def pauses(monkeypatch):
    """What the supervisor slept, without sleeping."""
    slept = []
    monkeypatch.setattr(supervisor.time, "sleep", slept.append)
    monkeypatch.setattr(supervisor, "stubs", lambda pid: [])
    return slept


def looks(watching, times):
    for _ in range(times):
        watching.look()


def test_a_server_that_callers_crash_is_started_again_for_ever(tmp_path, pauses, capsys):
    server = Falling(tmp_path, by_signal=True)
    watching = Supervisor(server)
    looks(watching, 30)
    assert server.started == 30
    assert watching.restarts["tritonserver"] == 30
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0, LONGEST_PAUSE)
    assert capsys.readouterr().err.count("signal 11 ended it; started again") == 30


def test_a_server_that_ends_by_itself_over_and_over_is_given_up(tmp_path, pauses):
    server = Falling(tmp_path, by_signal=False)
    watching = Supervisor(server)
    with pytest.raises(LaunchError, match=f"started {STARTS} times and does not stay: it ended with status 1"):
        looks(watching, 30)
    assert server.started == STARTS


def test_a_server_that_does_not_start_after_crashes_is_given_up(tmp_path, pauses, capsys):
    server = Falling(tmp_path, by_signal=True, starts=10)
    watching = Supervisor(server)
    with pytest.raises(LaunchError, match="does not stay: a model failed to load"):
        looks(watching, 30)
    assert server.started == 10 + 1 + STARTS
    assert "tritonserver did not start: a model failed to load." in capsys.readouterr().err


class Silent(Falling):
    """It runs, and its health endpoint refuses at once."""

    def __init__(self, folder):
        super().__init__(folder, by_signal=False)
        self.control.live = lambda timeout: False

    def poll(self):
        return None


def test_a_server_is_started_again_after_ten_seconds_without_an_answer_not_after_one_refusal(tmp_path, pauses):
    server = Silent(tmp_path)
    watching = Supervisor(server)
    for seconds, started in [(supervisor.LIVE_EVERY, 0), (0.9 * supervisor.LIVE_WITHIN, 1)]:
        watching._lived -= seconds
        looks(watching, 1)
        assert server.started == started


def test_crashes_that_lie_apart_are_each_healed_at_once(tmp_path, pauses, monkeypatch):
    server = Falling(tmp_path, by_signal=True)
    watching = Supervisor(server)
    for _ in range(5):
        watching.look()
        watching._started -= 2 * supervisor.STEADY
    assert set(pauses) == {0}


@pytest.mark.parametrize(
    ("status", "took_requests", "live", "crashed"),
    [
        (-11, True, False, True),
        (-11, False, False, False),
        (1, True, False, False),
        (None, True, True, False),
        (None, True, False, True),
        (None, False, False, False),
    ],
    ids=["a signal", "a signal before it was ready", "a status", "it lives", "it is silent", "it starts"],
)
def test_a_crash_is_a_signal_or_silence_after_requests_were_taken(
    tmp_path, monkeypatch, status, took_requests, live, crashed
):
    control = SimpleNamespace(ready=lambda model: took_requests, live=lambda timeout: live)
    monkeypatch.setattr(RunningServer, "control", control)
    launch = SimpleNamespace(
        spawn=lambda: (SimpleNamespace(poll=lambda: status), None),
        access=SimpleNamespace(warnings=list),
        options=ServerOptions(tmp_path, ready_model="tally", ready_timeout=0.0),
    )
    output = SimpleNamespace(reason=lambda status: f"status {status}")
    running = RunningServer(launch, SimpleNamespace(follow=lambda process: output))
    with nullcontext() if took_requests else pytest.raises(LaunchError):
        running.wait_ready()
    assert running.crashed() is crashed
