"""What the health probe makes of a step's answers; the server is scripted."""

import time

import pytest

from serving.launcher import health_probe
from serving.launcher.control_client import CallError
from serving.launcher.health_probe import HealthProbe, StepError, probe
from serving.topology import PROBED


class Scripted:
    """A server of what is probed: `failures` by step, `counts` of successes by model."""

    def __init__(self):
        self.failures: dict[str, CallError] = {}
        self.counts: dict[str, int] = dict.fromkeys(PROBED, 1)
        self.unloaded: set[str] = set()
        self.asked: list[str] = []
        self.meanwhile = lambda: None

    def successes(self):
        return dict(self.counts)

    def ready(self, step):
        return step not in self.unloaded

    def infer(self, step, inputs, timeout):
        self.asked.append(step)
        self.meanwhile()
        if step in self.failures:
            raise self.failures[step]
        self.counts[step] += 1


@pytest.fixture
def server():
    return Scripted()


def look(watch: HealthProbe) -> StepError | None:
    """What the round of requests that is due now finds."""
    found = watch.look()
    if watch._running is None:  # it was that quick
        return found
    watch._running.exception(timeout=5)
    return watch.look()


@pytest.fixture
def watch(server, monkeypatch):
    monkeypatch.setattr(health_probe, "EVERY", 0.0)
    monkeypatch.setattr(health_probe, "AT_MOST", float("inf"))
    return HealthProbe(server, 1.0)


def test_a_server_is_not_kept_busy_with_its_own_requests(server, watch, monkeypatch):
    monkeypatch.setattr(health_probe, "AT_MOST", 1e-6)
    server.counts = dict.fromkeys(PROBED, 0)
    look(watch)
    server.asked.clear()
    assert look(watch) is None
    assert server.asked == []
    watch.soon()
    server.counts = dict.fromkeys(PROBED, 0)
    look(watch)
    assert server.asked == list(PROBED)


def test_only_steps_that_nobody_used_are_asked(server, watch):
    server.counts = dict.fromkeys(PROBED, 0)
    assert look(watch) is None
    assert server.asked == list(PROBED)
    server.asked.clear()
    server.counts["mask"] += 1
    assert look(watch) is None
    assert server.asked == ["admit", "parse", "inpaint"]


def test_after_a_start_every_step_is_asked(server, watch):
    look(watch)
    server.asked.clear()
    server.counts = {step: count + 1 for step, count in server.counts.items()}
    watch.soon()
    server.counts = dict.fromkeys(PROBED, 0)
    look(watch)
    assert server.asked == list(PROBED)


@pytest.mark.parametrize("message", ["internal: no.", "Stub process is broken"])
def test_a_step_that_fails_is_told(server, watch, message):
    server.counts["mask"] = 0
    server.failures["mask"] = CallError(message, 500)
    found = look(watch)
    assert found.step == "mask"
    assert not found.hung
    assert message in str(found)


@pytest.mark.parametrize(
    "message",
    [
        "object_not_found: nothing here.",
        "overloaded: the queue is full.",
        "Exceeds maximum queue size",
        "Request timeout expired",
        "restarting: a moment.",
        "Request for unknown model: 'mask' has no available versions",
    ],
)
def test_a_step_that_is_busy_or_being_mended_is_left_alone(server, watch, message):
    server.counts["mask"] = 0
    server.failures["mask"] = CallError(message, 503)
    assert look(watch) is None


def test_a_step_that_an_operator_unloaded_is_left_alone(server, watch):
    server.counts["mask"] = 0
    server.unloaded.add("mask")
    assert look(watch) is None
    assert "mask" not in server.asked


@pytest.mark.parametrize("works", [True, False])
def test_a_step_without_an_answer_is_hung_unless_its_networks_work(server, watch, works):
    server.counts["inpaint"] = 0
    server.failures["inpaint"] = CallError("no answer", None)
    server.meanwhile = lambda: server.counts.update(unet=server.counts.get("unet", 0) + works)
    found = look(watch)
    assert (found is None) is works
    if found is not None:
        assert found.hung


def test_a_dead_admit_is_told_and_one_that_admits_nobody_is_alive(server, watch):
    server.counts["admit"] = 0
    server.failures["admit"] = CallError("overloaded: as many edits are under way as the server takes.", 503)
    assert look(watch) is None
    server.failures["admit"] = CallError("Stub process 'admit_0_0' is not working", 500)
    found = look(watch)
    assert (found.step, found.hung) == ("admit", False)


def test_without_an_answer_admit_is_hung(server, watch):
    server.counts["admit"] = 0
    server.failures["admit"] = CallError("no answer", None)
    assert look(watch).hung


FULL = ["Exceeds maximum queue size", "overloaded: the model 'unet' takes no more requests now; try again later."]


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the probe's clock, which a test moves on."""
    now = [time.monotonic()]
    monkeypatch.setattr(health_probe.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("message", FULL)
def test_a_full_step_is_alive_as_long_as_a_network_of_it_works(server, watch, clock, message):
    server.failures["inpaint"] = CallError(message, 503)
    for _ in range(20):
        server.counts |= {"inpaint": 0, "unet": server.counts.get("unet", 0) + 1}
        assert look(watch) is None
        assert server.asked[-1] == "inpaint"
        clock[0] += 10 * watch._patience


@pytest.mark.parametrize("message", FULL)
def test_a_full_step_that_stands_still_is_hung_once_its_patience_is_over(server, watch, clock, message):
    server.failures["inpaint"] = CallError(message, 503)
    server.counts |= {"inpaint": 0, "unet": 7}
    assert look(watch) is None
    clock[0] += 0.9 * watch._patience
    assert look(watch) is None
    clock[0] += 0.2 * watch._patience
    found = look(watch)
    assert (found.step, found.hung) == ("inpaint", True)


def test_a_flood_after_a_long_silence_is_no_standstill(server, watch, clock):
    server.counts |= {"inpaint": 0, "unet": 7}
    look(watch)
    clock[0] += 100 * watch._patience
    server.counts["inpaint"] = 0
    server.failures["inpaint"] = CallError(FULL[0], 503)
    server.asked.clear()
    assert look(watch) is None
    assert "inpaint" in server.asked


def test_work_before_the_request_is_no_progress_behind_it(server, watch):
    """What another step's request took long for says nothing about this one."""
    server.counts |= {"mask": 0, "inpaint": 0, "unet": 0}
    server.failures["inpaint"] = CallError("no answer", None)

    def meanwhile():
        server.counts["unet"] += server.asked[-1] == "mask"

    server.meanwhile = meanwhile
    assert look(watch).hung


def test_a_step_that_was_loaded_again_meanwhile_is_not_hung(server, watch):
    """Its counts begin anew."""
    server.counts |= {"inpaint": 0, "unet": 500}
    server.failures["inpaint"] = CallError("no answer", None)
    server.meanwhile = lambda: server.counts.update(unet=3)
    assert look(watch) is None


def test_a_start_under_load_waits_for_a_step_that_callers_keep_busy(server, monkeypatch):
    server.counts = dict.fromkeys(PROBED, 0)
    server.failures["inpaint"] = CallError(FULL[0], 503)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            server.counts["inpaint"] = 1  # a caller's

    monkeypatch.setattr(health_probe.time, "sleep", sleep)
    probe(server, 60)
    assert len(slept) == 3


def test_a_start_under_load_fails_when_nobody_is_served(server, monkeypatch, clock):
    server.counts = dict.fromkeys(PROBED, 0)
    server.failures["inpaint"] = CallError(FULL[0], 503)
    began = clock[0]
    monkeypatch.setattr(health_probe.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    with pytest.raises(StepError, match="'inpaint' fails on a plain request: Exceeds maximum queue size"):
        probe(server, 60)
    assert clock[0] >= began + 60
