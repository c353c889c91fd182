"""The glue of the steps, outside tritonserver: what an exception becomes, and for whom."""

from types import SimpleNamespace

import numpy as np
import pytest

from serving.errors import EditError, out_of_memory
from serving.steps import step
from serving.steps.bls import carried
from serving.triton_errors import is_away


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class Sums(step.Step):
    """A step that works on all its requests at once; a request is a list of numbers."""

    sharing = SimpleNamespace(shared=lambda: False)

    def respond_all(self, requests):
        if any(None in request for request in requests):
            raise MemoryError
        return [{"sum": np.array([sum(request)])} for request in requests]

    def note(self, request, answer, started):
        """The journal is Triton's logger and metrics."""


@pytest.fixture(autouse=True)
def _plain_answers(monkeypatch):
    monkeypatch.setattr(step, "response", lambda answer: answer)
    monkeypatch.setattr(step, "pb_utils", SimpleNamespace(Logger=SimpleNamespace(log_error=lambda text: None)))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MemoryError(), "overloaded"),
        (np.core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)), "overloaded"),
        (OutOfMemoryError("CUDA out of memory."), "overloaded"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 4096"), "overloaded"),
        (ValueError("wrong"), "internal"),
        (EditError("invalid_image", "no."), "invalid_image"),
    ],
)
def test_an_exception_becomes_its_error(error, name):
    def fail():
        raise error

    assert step.guarded(fail).name == name
    assert out_of_memory(error) is (name == "overloaded")


def test_a_request_without_memory_costs_its_neighbours_nothing():
    answers = Sums().execute([[1, 2], [None], [3]])
    assert [answer["sum"].item() for answer in answers[::2]] == [3, 3]
    assert answers[1].name == "overloaded"


def test_parameters_of_any_type_can_be_passed_on():
    given = {"priority_class": "bulk", "count": 3, "on": True, "share": 0.5, "nothing": None}
    assert carried(given) == {"priority_class": "bulk", "count": 3, "on": True, "share": "0.5", "nothing": "None"}


@pytest.mark.parametrize(
    ("message", "gone"),
    [
        ("Stub process 'unet_0_0' is not healthy.", True),
        ("Model unet - Error when running inference: Server not ready", True),
        ("Failed for execute the inference request. Model 'unet' is not ready.", True),
        ("Exceeds maximum queue size", False),
    ],
)
def test_a_model_that_is_gone_for_a_moment_is_told_from_a_busy_one(message, gone):
    assert is_away(message) is gone
