"""A step that responds as it goes: a decoupled Triton Python model."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from serving.steps.bls import Caller
from serving.steps.step import Step, guarded, response
from serving.steps.tensors import Outputs
from serving.steps.watchdog import watched

FINAL = 1
"""TRITONSERVER_RESPONSE_COMPLETE_FINAL: nothing comes after this response."""


class Reply(NamedTuple):
    """One response to a request that has several; the `final` one is the last, and tells the result."""

    outputs: Outputs
    final: bool = False


class StreamingStep(Step):
    """A Triton Python model that sends several responses to a request, the last of them its result.

    A request holds its instance until the last response, so the instances are how many are worked on at once. Its
    `Caller` knows when the client cancels the call or is gone.
    """

    def respond_each(self, request, caller: Caller) -> Generator[Reply]:
        """Yield the outputs of each response, the last of them `final`; raises EditError."""
        raise NotImplementedError

    def execute(self, requests) -> None:  # type: ignore[override]  # the responses go through the sender
        for request in requests:
            started, sender = time.perf_counter(), request.get_response_sender()
            with watched(), self.counted(1):
                result = guarded(self._send_all_but_the_last, request, sender)
            sender.send(response(result), flags=FINAL)
            self.note(request, result, started)

    def _send_all_but_the_last(self, request, sender) -> Outputs:
        caller = Caller(request, gone=sender.is_cancelled)
        caller.check()  # one that was cancelled in the queue is not begun
        with closing(self.respond_each(request, caller)) as replies:
            for outputs, final in replies:
                if not final:
                    sender.send(response(outputs))
        return outputs
