"""parse, where the language model has servers of its own: each sentence goes to one of them."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from serving.errors import EditError
from serving.steps.bls import Caller
from serving.steps.step import Step, guarded
from serving.steps.tensors import Outputs, blob, bytes_tensor
from serving.triton_errors import is_busy, parse_error

OUTPUTS = ("intent", "target", "replacement", "caption", "parse_score", "parse_report")
ROWS = 16
"""Sentences on their way at once: the batch of config.pbtxt, so that none waits for another."""
LONGEST = 60.0
"""Seconds that a sentence may take whose caller sets no deadline: what the language model's own queue allows."""
LEAST = 0.01
"""Seconds that must be left of a deadline: no sentence is read in less, and calls that a deadline ends within a
millisecond bring a tritonserver 24.10 down."""


@dataclass(frozen=True)
class Parameters:
    """`url`: where the language model is served, the host:port of its gRPC."""

    url: str


class TritonPythonModel(Step):
    parameters = Parameters

    def load(self, folder: Path, version: int, parameters: Parameters) -> None:
        self.language_model = RemoteParse(parameters.url)
        self.pool = ThreadPoolExecutor(ROWS)

    def respond_all(self, requests) -> list[Outputs | EditError]:
        callers = [Caller(request) for request in requests]  # a deadline counts from when it is asked for
        return list(self.pool.map(lambda *one: guarded(self._forwarded, *one), requests, callers))

    def _forwarded(self, request, caller: Caller) -> Outputs:
        sentence = blob(request, "prompt")
        caller.check()
        outputs = self.language_model.read(sentence, request.request_id(), caller.deadline)
        # A deadline is of one machine's clock: ours, not the one that theirs says.
        return outputs | {"deadline": np.array([[caller.deadline]])}

    def finalize(self) -> None:
        self.pool.shutdown()
        self.language_model.close()


class RemoteParse:
    """The parse of the servers that a name stands for, `url` its host:port. Any thread may use it."""

    def __init__(self, url: str):
        # Every address of that name in turn, call by call; one that comes back is found within seconds.
        options = [("grpc.lb_policy_name", "round_robin"), ("grpc.max_reconnect_backoff_ms", 2000)]
        self._client = triton.InferenceServerClient(f"dns:///{url}", channel_args=options)

    def read(self, sentence: bytes, request_id: str, deadline: float) -> Outputs:
        """What the sentence asks for: OUTPUTS by name.

        `deadline` is of time.monotonic(), inf for none. Raises EditError: the language model's own, `cancelled` at the
        deadline, without a call where that is near; `overloaded`; `restarting` when it cannot be reached.
        """
        left = deadline - time.monotonic()
        if left < LEAST:
            raise _too_late()
        left = min(LONGEST, left)
        tensor = triton.InferInput("prompt", [1, 1], "BYTES")
        tensor.set_data_from_numpy(bytes_tensor(sentence))
        try:
            response = self._client.infer(
                "parse", [tensor], client_timeout=left, timeout=int(left * 1e6), request_id=request_id
            )
        except InferenceServerException as error:
            raise failure(error, deadline) from None
        return {name: response.as_numpy(name) for name in OUTPUTS}

    def close(self) -> None:
        self._client.close()


def failure(error: InferenceServerException, deadline: float = math.inf) -> EditError:
    """The language model's own error where it has a name, else what the lost call means."""
    message = error.message() or ""
    typed = parse_error(message)
    if typed is not None:
        return typed
    if error.status() == "StatusCode.DEADLINE_EXCEEDED" or is_busy(message):
        late = time.monotonic() >= deadline - LEAST
        return _too_late() if late else EditError("overloaded", "the language model is busy; try again in a moment.")
    return EditError("restarting", "the language model cannot be reached; try again in a moment.")


def _too_late() -> EditError:
    return EditError("cancelled", "the deadline passed before the sentence was read; allow more time.")
