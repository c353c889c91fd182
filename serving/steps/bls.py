"""Calls that a step makes to other models of its server (BLS), for one request and as long as it is wanted."""

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serving.errors import EditError
from serving.steps.watchdog import waiting
from serving.topology import ADMIT, STEPS
from serving.triton_errors import CallFailure, is_away, is_busy, parse_error

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside tritonserver: the pure functions stay importable for unit tests
    pb_utils = None


def deadline_of(request) -> float:
    """When the time that the caller gives the request ends, in seconds of time.monotonic(); inf without a timeout.

    Triton tells the whole timeout, whenever it is asked: counted from now, as if the request had just come.
    """
    microseconds = request.timeout()
    return time.monotonic() + microseconds / 1e6 if microseconds else math.inf


class Caller:
    """Calls other models of this server (BLS) for one request, for as long as somebody waits for its answer.

    `deadline`, in seconds of time.monotonic(), counts beside the request's own timeout. `gone` tells whether the
    caller has left; inside an ensemble Triton 24.10 never knows. The calls carry the request's id and trace on.
    """

    def __init__(self, request, *, deadline: float = math.inf, gone: Callable[[], bool] | None = None):
        self.deadline = min(deadline, deadline_of(request))
        self._gone = gone or request.is_cancelled
        self._request_id = request.request_id()
        self._trace = request.trace()

    def check(self) -> None:
        """Raise EditError `cancelled` when the caller has left or the deadline has passed."""
        if self._gone():
            raise EditError("cancelled", "the call was cancelled, and the work on it stopped.")
        if time.monotonic() >= self.deadline:
            raise EditError("cancelled", "the deadline passed before the edit was done; allow more time or ask for "
                                         "fewer steps.")  # fmt: skip

    def in_time(self, seconds: float) -> bool:
        """Whether what takes so many seconds would end before the deadline."""
        return time.monotonic() + seconds < self.deadline

    def infer(
        self,
        model: str,
        inputs: dict[str, np.ndarray],
        outputs: Sequence[str],
        *,
        version: int = -1,
        parameters: dict[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of `model` by name, in host memory. `inputs` carry the batch axis.

        The call is not begun when nobody waits any more, and waits in the model's queue until the deadline at most.
        Raises EditError: the called step's own typed error where it has one, else `restarting` while that step is
        gone, `overloaded` or `cancelled` by code, else `internal`, its cause in the server's log.
        """
        self.check()
        request = pb_utils.InferenceRequest(
            model_name=model,
            model_version=version,
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()],
            requested_output_names=list(outputs),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
            timeout=self._microseconds_left(),
            request_id=self._request_id,
            trace=self._trace,
            parameters=carried(parameters or {}),
        )
        with waiting(model):
            response = _executed(request, model, version)
        arrays = {name: pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs}
        if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
            raise EditError("internal", f"the model '{model}' version {version} gives values that are not finite.")
        return arrays

    def _microseconds_left(self) -> int:
        """The timeout of a call made now; 0, Triton's word for none, when there is no deadline."""
        return max(1, int((self.deadline - time.monotonic()) * 1e6)) if self.deadline < math.inf else 0


def _executed(request, model: str, version: int):
    """The response to a call of `model`; raises the EditError that a failed one means."""
    try:
        response = request.exec()
    except pb_utils.TritonModelException as error:  # it did not get as far as the model
        raise _error_of(model, version, str(error), None) from None
    if response.has_error():
        raise _error_of(model, version, response.error().message(), response.error().code())
    return response


def _error_of(model: str, version: int, message: str, code: int | None) -> EditError:
    """What Triton's `message` about a call means to the edit; `code` is one of TritonError's, where there is one."""
    typed = parse_error(message)
    if typed is not None:
        typed.noted = model in (ADMIT, *STEPS)  # the networks keep no log
        return typed
    if is_away(message):
        return EditError("restarting", f"the model '{model}' is being started again; try again in a moment.")
    if is_busy(message) or code == pb_utils.TritonError.UNAVAILABLE:
        return EditError("overloaded", f"the model '{model}' takes no more requests now; try again later.")
    if code == pb_utils.TritonError.CANCELLED:
        return EditError("cancelled", "the call was cancelled.")
    failure = EditError("internal", f"the model '{model}' failed; the server's log says why.")
    failure.__cause__ = CallFailure(model, version, message)
    return failure


def parameters(request) -> dict[str, Any]:
    """The request's own parameters, those of no meaning to Triton, by name."""
    return json.loads(request.parameters() or "{}")


def carried(parameters: dict[str, Any]) -> dict[str, str | int | bool]:
    """A caller's parameters as Triton takes them in a call: it refuses floating-point numbers, which become text."""
    return {name: value if isinstance(value, str | int) else str(value) for name, value in parameters.items()}


def passed_on(request, model: str, version: int):
    """The response of another version of the model to the request as it came; EditError as in `Caller.infer`."""
    call = pb_utils.InferenceRequest(
        model_name=model,
        model_version=version,
        inputs=request.inputs(),
        requested_output_names=list(request.requested_output_names()),
        request_id=request.request_id(),
        parameters=carried(parameters(request)),
        timeout=request.timeout(),
        trace=request.trace(),
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    return pb_utils.InferenceResponse(_executed(call, model, version).output_tensors())
