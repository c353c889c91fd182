"""A step with several responses a request: which is sent when, and what ends with the last."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from serving.errors import EditError
from serving.steps import decoupled
from serving.steps.decoupled import FINAL, Reply, StreamingStep


class Counting(StreamingStep):
    """Tells of two steps, then of `ending`: outputs, or an exception."""

    def __init__(self, ending):
        self.ending, self.at_work, self.closed, self.noted = ending, 0, False, []

    def respond_each(self, request, caller):
        try:
            yield Reply({"step": 1})
            yield Reply({"step": 2})
            if isinstance(self.ending, Exception):
                raise self.ending
            yield Reply(self.ending, final=True)
        finally:
            self.closed = True

    @contextmanager
    def counted(self, requests):
        self.at_work += requests
        yield
        self.at_work -= requests

    def note(self, request, answer, started):
        self.noted.append(answer)


class Sender:
    """Keeps each response with its flags, how many requests were at work, and whether the work was over."""

    def __init__(self, step, breaks_at=None):
        self.step, self.sent, self.breaks_at = step, [], breaks_at

    def is_cancelled(self):
        return False

    def send(self, answer, flags=0):
        if self.breaks_at == len(self.sent):
            self.breaks_at = None
            raise RuntimeError("the stream is gone")
        self.sent.append((answer, flags, self.step.at_work, self.step.closed))


def answered(step, **options):
    sender = Sender(step, **options)
    request = SimpleNamespace(
        get_response_sender=lambda: sender, timeout=lambda: 0, request_id=lambda: "", trace=lambda: None
    )
    step.execute([request])
    return sender.sent


@pytest.fixture(autouse=True)
def _plain_answers(monkeypatch):
    monkeypatch.setattr(decoupled, "response", lambda answer: answer)


def test_each_reply_is_sent_at_once_and_the_last_when_the_request_is_no_longer_in_flight():
    step = Counting({"edit": 1})
    sent = answered(step)
    assert sent == [({"step": 1}, 0, 1, False), ({"step": 2}, 0, 1, False), ({"edit": 1}, FINAL, 0, True)]
    assert step.noted == [{"edit": 1}]


def test_an_error_after_some_progress_is_the_last_response():
    error = EditError("cancelled", "nobody waits.")
    step = Counting(error)
    sent = answered(step)
    assert sent == [({"step": 1}, 0, 1, False), ({"step": 2}, 0, 1, False), (error, FINAL, 0, True)]
    assert step.noted == [error]


def test_a_response_that_cannot_be_sent_ends_the_work_first():
    step = Counting({"edit": 1})
    *_, (answer, flags, at_work, closed) = answered(step, breaks_at=1)
    assert (answer.name, flags, at_work, closed) == ("internal", FINAL, 0, True)
