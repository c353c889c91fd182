"""What the supervisor takes for dead, with processes and a server that are made up."""

from collections import namedtuple
from types import SimpleNamespace

import pytest

from serving.launcher import supervisor
from serving.launcher.processes import Stub
from serving.launcher.server_options import ServerOptions
from serving.launcher.supervisor import Supervisor

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
