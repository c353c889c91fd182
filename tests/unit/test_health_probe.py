"""What the health probe makes of a step's answers; the server is scripted."""

import pytest

from serving.launcher import health_probe
from serving.launcher.control_client import CallError
from serving.launcher.health_probe import HealthProbe, StepError
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
