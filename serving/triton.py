"""The glue between our steps and Triton's Python backend: inputs, answers, errors, calls to other models.

With `serving.metrics` the only module that imports `triton_python_backend_utils`, which exists inside a stub process
alone.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import CallFailure, EditError, away, out_of_memory
from serving.hands import FOLDER, Hands
from serving.journal import STEPS, Journal
from serving.sharing import Sharing
from serving.watchdog import waiting, watched

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside tritonserver: the pure functions stay importable for unit tests
    pb_utils = None

REQUIRED: Any = object()
Answer = dict[str, np.ndarray]
"""The outputs of a response by name, batch axis included."""
_ERROR_OF_INPUT = {"image": "invalid_image", "prompt": "invalid_prompt"}


def _single(request, name: str, default: Any) -> Any:
    """The one element of the input `name`, or `default` when the request leaves it out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None and default is not REQUIRED:
        return default
    error = _ERROR_OF_INPUT.get(name, "invalid_option")
    if tensor is None:
        raise EditError(error, f"the input '{name}' is missing.")
    array = tensor.as_numpy()
    if array.size != 1:
        raise EditError(error, f"'{name}' has shape {list(array.shape)}; send one value, shape [1, 1].")
    return array.reshape(-1)[0]


def blob(request, name: str, default: Any = REQUIRED) -> Any:
    """The bytes of the BYTES input `name`; EditError when it is absent and no default is given."""
    return _single(request, name, default)


def text(request, name: str, default: Any = REQUIRED) -> Any:
    """The BYTES input `name` as str; EditError when absent without a default, or not UTF-8."""
    value = _single(request, name, default)
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        error = _ERROR_OF_INPUT.get(name, "invalid_option")
        raise EditError(error, f"'{name}' is not valid UTF-8; encode the text as UTF-8.") from None


def scalar(request, name: str, default: Any = None) -> Any:
    """The numeric input `name` as a Python int or float, or `default` when the request leaves it out."""
    value = _single(request, name, default)
    return value.item() if isinstance(value, np.generic) else value


def parameters(request) -> dict[str, Any]:
    """The request's own parameters, those of no meaning to Triton, by name."""
    return json.loads(request.parameters() or "{}")


def bytes_tensor(*values: bytes | str) -> np.ndarray:
    """A BYTES answer [1, n]: an object array, because `np.bytes_` loses trailing zero bytes."""
    array = np.empty((1, len(values)), dtype=object)
    array[0, :] = [value.encode("utf-8") if isinstance(value, str) else value for value in values]
    return array


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
            parameters=parameters or {},
        )
        try:
            with waiting():
                response = request.exec()
        except pb_utils.TritonModelException as error:
            cause = CallFailure(model, version, str(error))
            raise EditError("internal", f"the model '{model}' version {version} could not be called.") from cause
        if response.has_error():
            raise _error_of(model, version, response.error())
        answer = {name: pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs}
        if not all(np.isfinite(array).all() for array in answer.values() if array.dtype.kind == "f"):
            raise EditError("internal", f"the model '{model}' version {version} gives values that are not finite.")
        return answer

    def _microseconds_left(self) -> int:
        """The timeout of a call made now; 0, Triton's word for none, when there is no deadline."""
        return max(1, int((self.deadline - time.monotonic()) * 1e6)) if self.deadline < math.inf else 0


def _error_of(model: str, version: int, error) -> EditError:
    typed = EditError.parse(error.message())
    if typed is not None:
        typed.noted = model in STEPS
        return typed
    if away(error.message()):
        return EditError("restarting", f"the model '{model}' is being started again; try again in a moment.")
    if error.code() == pb_utils.TritonError.UNAVAILABLE:
        return EditError("overloaded", f"the model '{model}' takes no more requests now; try again later.")
    if error.code() == pb_utils.TritonError.CANCELLED:
        return EditError("cancelled", "the call was cancelled.")
    failure = EditError("internal", f"the model '{model}' failed; the server's log says why.")
    failure.__cause__ = CallFailure(model, version, error.message())
    return failure


class Step:
    """A Triton Python model: `load` once, then `respond` to each request.

    model.py is `class TritonPythonModel(Step)`. Set before `load`: `self.device`, "cpu" or "cuda:N", from the
    instance group, `self.repository`, the folder of all models, `self.version`, the release served, which is also the
    version of the networks to call, and `self.journal`, which counts and logs what the step answers.
    A step that works on several requests at once overrides `respond_all` instead of `respond`.
    """

    device: str
    version: int
    journal: Journal
    repository: Path
    released_as: str | None = None
    """The step whose release this model serves in another way; None for the step itself."""
    hands: Hands | None = None

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        gpu = args["model_instance_kind"] == "GPU"
        self.device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        self.version = int(args["model_version"])
        self.journal = Journal(args["model_name"], self.version, pb_utils.Logger)
        self.hands = Hands(args["model_name"], Path(os.environ[FOLDER])) if FOLDER in os.environ else None
        self._model, folder = args["model_name"], Path(args["model_repository"])
        self.repository = folder.parent
        self.sharing = Sharing(self.repository, self.released_as or self._model, self.version)
        self.load(folder / args["model_version"], self.version, parameters)

    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        """Read what the release's version `folder` holds; an exception fails the load with its message."""

    def respond(self, request) -> Answer:
        """The outputs of one request by name, batch axis included; raises EditError."""
        raise NotImplementedError

    def respond_all(self, requests) -> list[Answer | EditError]:
        """One answer for each request, in order."""
        return [guarded(self.respond, request) for request in requests]

    def execute(self, requests) -> list:
        return self._shared(requests) if self.sharing.shared() else self._own(requests)

    def _shared(self, requests) -> list:
        """The answers while this release is a canary: those that are not for it come from the release in force."""
        releases = [self.sharing.release_for(key_of(request)) for request in requests]
        own = [request for request, release in zip(requests, releases, strict=True) if release == self.version]
        with ThreadPoolExecutor(len(requests)) as pool:
            others = [
                pool.submit(passed_on, request, self._model, release)
                for request, release in zip(requests, releases, strict=True)
                if release != self.version
            ]
            ours, theirs = iter(self._own(own) if own else ()), iter(others)
            return [next(ours) if release == self.version else next(theirs).result() for release in releases]

    def _own(self, requests) -> list:
        started = time.perf_counter()
        with watched(), self.holding(len(requests)):
            answers = guarded(self.respond_all, requests)
        if isinstance(answers, EditError):
            if len(requests) > 1:  # each alone, so that only the guilty one gets the error
                return [self._own([request])[0] for request in requests]
            answers = [answers]
        for request, answer in zip(requests, answers, strict=True):
            self.note(request, answer, started)
        return [response(answer) for answer in answers]

    def note(self, request, answer: Answer | EditError, started: float) -> None:
        """Have the journal record an answer to a request on which work began at `started`, of perf_counter."""
        self.journal.note(request.request_id(), intent_of(request, answer), answer, started)

    def holding(self, requests: int) -> AbstractContextManager[None]:
        """Tells, for as long as the block lasts, that this process has so many requests at hand."""
        return self.hands.holding(requests) if self.hands is not None else nullcontext()


def log_error(message: str) -> None:
    """Write to the server's log."""
    pb_utils.Logger.log_error(message)


def guarded(function, *arguments) -> Any:
    """`function(*arguments)`, an exception turned into the EditError to answer with.

    Too little memory is `overloaded`. Unforeseen exceptions become `internal` with no detail. Either has the exception
    as its `__cause__`, for the journal.
    """
    try:
        return function(*arguments)
    except EditError as error:
        return error
    except Exception as error:
        if out_of_memory(error):
            failure = EditError("overloaded", "there is no memory for this request now; try again, or send less.")
        else:
            failure = EditError("internal", "the server failed on this request; its log says why.")
        failure.__cause__ = error
        return failure


def intent_of(request, answer: Answer | EditError) -> str:
    """What the caller wants: as `parse` understood it, or as a later step's input says; "" when nobody knows."""
    if isinstance(answer, dict) and "intent" in answer:
        return answer["intent"].item().decode()
    known = guarded(text, request, "intent", "")
    return known if isinstance(known, str) else ""


def key_of(request) -> bytes:
    """What decides which release answers beside a canary: `canary_key` where given, else picture or sentence."""
    given = json.loads(request.parameters() or "{}").get("canary_key")
    if given is not None:
        return str(given).encode()
    return guarded(blob, request, "image", None) or guarded(blob, request, "prompt", None) or b""


def passed_on(request, model: str, version: int):
    """The response of another version of the model to the request as it came."""
    call = pb_utils.InferenceRequest(
        model_name=model,
        model_version=version,
        inputs=request.inputs(),
        requested_output_names=list(request.requested_output_names()),
        request_id=request.request_id(),
        parameters=json.loads(request.parameters() or "{}"),
        timeout=request.timeout(),
        trace=request.trace(),
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    answer = call.exec()
    if answer.has_error():
        return pb_utils.InferenceResponse(error=answer.error())
    return pb_utils.InferenceResponse(answer.output_tensors())


def response(answer: Answer | EditError):
    """The Triton response that carries outputs or an error."""
    if isinstance(answer, EditError):
        code = getattr(pb_utils.TritonError, answer.code)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(answer), code))
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in answer.items()]
    )
