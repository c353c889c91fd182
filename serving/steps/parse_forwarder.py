"""parse, where the language model has servers of its own: each sentence goes to one of them."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from serving.errors import EditError
from serving.steps.bls import deadline_of
from serving.steps.step import Step, guarded
from serving.steps.tensors import REQUIRED, Outputs, blob, bytes_tensor
from serving.triton_errors import parse_error

OUTPUTS = ("intent", "target", "replacement", "caption", "parse_score", "parse_report")
LONGEST = 60.0
"""Seconds that a sentence may take whose caller sets no deadline: what the language model's own queue allows."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        url = parameters.pop("url", None)
        if not url or parameters:
            raise ValueError("the parameter url, and no other, says where the language model is served")
        # Every address of that name in turn, call by call; one that comes back is found within seconds.
        options = [("grpc.lb_policy_name", "round_robin"), ("grpc.max_reconnect_backoff_ms", 2000)]
        self.client = triton.InferenceServerClient(f"dns:///{url}", channel_args=options)
        self.pool = ThreadPoolExecutor(16)

    def respond_all(self, requests) -> list[Outputs | EditError]:
        return list(self.pool.map(lambda request: guarded(self.respond, request), requests))

    def respond(self, request) -> Outputs:
        sentence = triton.InferInput("prompt", [1, 1], "BYTES")
        sentence.set_data_from_numpy(bytes_tensor(blob(request, "prompt", REQUIRED)))
        deadline = deadline_of(request)
        left = min(LONGEST, max(0.001, deadline - time.monotonic()))
        try:
            answer = self.client.infer(
                "parse", [sentence], client_timeout=left, timeout=int(left * 1e6), request_id=request.request_id()
            )
        except InferenceServerException as error:
            raise failure(error) from None
        # A deadline is of one machine's clock: ours, not the one that theirs says.
        return {name: answer.as_numpy(name) for name in OUTPUTS} | {"deadline": np.array([[deadline]])}

    def finalize(self) -> None:
        self.pool.shutdown()
        self.client.close()


def failure(error: InferenceServerException) -> EditError:
    """The language model's own error where it has a name, else what the lost call means."""
    typed = parse_error(re.sub(r"^\[request id: [^\]]*\] ", "", error.message() or ""))
    if typed is not None:
        return typed
    if error.status() == "StatusCode.DEADLINE_EXCEEDED":
        return EditError("cancelled", "the deadline passed before the sentence was read; allow more time.")
    return EditError("restarting", "the language model cannot be reached; try again in a moment.")
