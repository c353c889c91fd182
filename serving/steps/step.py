"""A Triton Python model of ours: load, respond, and an exception turned into that request's own error."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving import environment
from serving.errors import EditError, out_of_memory
from serving.inflight import InFlight
from serving.settings import from_parameters
from serving.steps.bls import parameters, passed_on
from serving.steps.canary import Canary
from serving.steps.edit_log import EditLog
from serving.steps.tensors import Outputs, blob, text
from serving.steps.watchdog import watched
from serving.triton_errors import CODES

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside tritonserver: the pure functions stay importable for unit tests
    pb_utils = None


TRITONS_PARAMETERS = ("EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS")
"""Parameters of a config that are for Triton's Python backend."""


@dataclass(frozen=True)
class NoParameters:
    """Of a step whose config has no parameters."""


class Step:
    """A Triton Python model: `load` once, then `respond` to each request.

    A step's module has `class TritonPythonModel(Step)`, and its model.py imports that. Set before `load`:
    `self.device`, "cpu" or "cuda:N", from the instance group, `self.repository`, the folder of all models,
    `self.version`, the release served, which is also the version of the networks to call, and `self.edit_log`, which
    counts and logs what the requests come to.
    A step that works on several requests at once overrides `respond_all` instead of `respond`.
    """

    device: str
    version: int
    edit_log: EditLog
    repository: Path
    parameters: type = NoParameters
    """The frozen dataclass that the parameters of config.pbtxt become; see `serving.settings.from_parameters`."""
    released_as: str | None = None
    """The step whose release this model serves in another way; None for the step itself."""
    in_flight: InFlight | None = None

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        texts = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        ours = {key: value for key, value in texts.items() if key not in TRITONS_PARAMETERS}
        gpu = args["model_instance_kind"] == "GPU"
        self.device = f"cuda:{args['model_instance_device_id']}" if gpu else "cpu"
        self.version = int(args["model_version"])
        self.edit_log = EditLog(args["model_name"], self.version, pb_utils.Logger)
        folder = os.environ.get(environment.INFLIGHT)
        self.in_flight = InFlight(args["model_name"], Path(folder)) if folder else None
        self._model, model_folder = args["model_name"], Path(args["model_repository"])
        self.repository = model_folder.parent
        self.canary = Canary(self.repository, self.released_as or self._model, self.version)
        self.load(model_folder / args["model_version"], self.version, from_parameters(self.parameters, ours))

    def load(self, folder: Path, version: int, parameters: Any) -> None:
        """Read what the release's version `folder` holds; an exception fails the load with its message.

        `parameters` are a `self.parameters`.
        """

    def respond(self, request) -> Outputs:
        """The outputs of one request by name, batch axis included; raises EditError."""
        raise NotImplementedError

    def respond_all(self, requests) -> list[Outputs | EditError]:
        """The outputs of each request, or its error, in order."""
        return [guarded(self.respond, request) for request in requests]

    def execute(self, requests) -> list:
        return self._divided(requests) if self.canary.active() else self._own(requests)

    def _divided(self, requests) -> list:
        """The responses while this release is a canary: those that are not for it come from the release in force."""
        releases = [guarded(self._release_for, request) for request in requests]
        own = [request for request, release in zip(requests, releases, strict=True) if release == self.version]
        with ThreadPoolExecutor(len(requests)) as pool:
            others = [
                pool.submit(self._passed_on, request, release)
                for request, release in zip(requests, releases, strict=True)
                if release != self.version
            ]
            ours, theirs = iter(self._own(own) if own else ()), iter(others)
            return [next(ours) if release == self.version else next(theirs).result() for release in releases]

    def _release_for(self, request) -> int:
        return self.canary.release_for(key_of(request))

    def _passed_on(self, request, release: int | EditError):
        """The response of another release; that of an error where there is none, or where it cannot be called."""
        started = time.perf_counter()
        result = release if isinstance(release, EditError) else guarded(passed_on, request, self._model, release)
        if not isinstance(result, EditError):
            return result
        self.note(request, result, started)
        return response(result)

    def _own(self, requests) -> list:
        started = time.perf_counter()
        with watched(), self.counted(len(requests)):
            results = guarded(self.respond_all, requests)
        if isinstance(results, EditError):
            if len(requests) > 1:  # each alone, so that only the guilty one gets the error
                return [self._own([request])[0] for request in requests]
            results = [results]
        for request, result in zip(requests, results, strict=True):
            self.note(request, result, started)
        return [response(result) for result in results]

    def note(self, request, result: Outputs | EditError, started: float) -> None:
        """Record what a request came to on which work began at `started`, of perf_counter."""
        self.edit_log.note(request.request_id(), intent_of(request, result), result, started)

    def counted(self, requests: int) -> AbstractContextManager[None]:
        """Tells, for as long as the block lasts, that this process works on so many requests."""
        return self.in_flight.counting(requests) if self.in_flight is not None else nullcontext()


def log_error(message: str) -> None:
    """Write to the server's log."""
    pb_utils.Logger.log_error(message)


def guarded(function, *arguments) -> Any:
    """`function(*arguments)`, an exception turned into the EditError to answer with.

    Too little memory is `overloaded`. Unforeseen exceptions become `internal` with no detail. Either has the exception
    as its `__cause__`, for the edit log.
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


def intent_of(request, result: Outputs | EditError) -> str:
    """What the caller wants: as `parse` understood it, or as a later step's input says; "" when nobody knows."""
    if isinstance(result, dict) and "intent" in result:
        return result["intent"].item().decode()
    known = guarded(text, request, "intent", "")
    return known if isinstance(known, str) else ""


def key_of(request) -> bytes:
    """What decides which release answers beside a canary: `canary_key` where given, else picture or sentence.

    EditError where one of these has not the form of one value.
    """
    given = parameters(request).get("canary_key")
    if given is not None:
        return str(given).encode()
    return blob(request, "image", None) or blob(request, "prompt", None) or b""


def response(result: Outputs | EditError):
    """The Triton response that carries outputs or an error."""
    if isinstance(result, EditError):
        code = getattr(pb_utils.TritonError, CODES[result.name])
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(result), code))
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in result.items()]
    )
