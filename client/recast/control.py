"""Model control, for an operator: what a server has loaded, and loading and unloading it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from .errors import InvalidRequest, RecastError, translate
from .transport import Transport, finish

TIMEOUT = 60.0
LOAD_TIMEOUT = 1800.0
"""Seconds: a language model of 32 billion parameters comes from a slow disk. The server's own limit is the same."""
_GOING = ("READY", "UNLOADING")


class LoadFailed(RecastError):
    name = "load_failed"


class Control:
    """The models of the server at `url`, over a blocking transport with the admin key. Raises RecastError."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url

    def load(self, model: str, *, timeout: float = LOAD_TIMEOUT) -> None:
        """Load what the model's folder holds now, and unload what it no longer holds; LoadFailed says why not."""
        self._load("load_model", model, timeout)

    def unload(self, model: str, *, timeout: float = LOAD_TIMEOUT) -> None:
        """Take the model away; LoadFailed says why not."""
        self._load("unload_model", model, timeout)

    def loaded(self, model: str) -> tuple[int, ...]:
        """The versions that take requests."""
        return tuple(sorted(version for version, state in self.states(model).items() if state == "READY"))

    def states(self, model: str) -> dict[int, str]:
        """The state of each version that the server knows of, such as READY, UNLOADING or UNAVAILABLE."""
        index = self._call("get_model_repository_index", TIMEOUT)
        return {int(each.version): each.state for each in index.models if each.name == model and each.version}

    def wait_unloaded(self, model: str, versions: Collection[int]) -> None:
        """Until the requests in flight on `versions` are answered and they are gone."""
        end = time.monotonic() + TIMEOUT
        while any(self.states(model).get(version) in _GOING for version in versions):
            if time.monotonic() > end:
                raise LoadFailed(f"the server still works on requests of {model} {sorted(versions)}; try again later.")
            time.sleep(0.1)

    def config(self, model: str) -> Any:
        """The model's config as it is served, a protobuf message."""
        return self._call("get_model_config", TIMEOUT, model_name=model).config

    def infer(self, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], timeout: float) -> Any:
        """One inference; arrays carry the batch axis."""
        tensors = [
            InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
            for name, array in inputs.items()
        ]
        return self._call("infer", timeout, model_name=model, inputs=tensors)

    def _load(self, method: str, model: str, timeout: float) -> None:
        try:
            self._call(method, timeout, model_name=model)
        except InvalidRequest as error:
            raise LoadFailed(_brief(str(error))) from error

    def _call(self, method: str, timeout: float, **arguments: Any) -> Any:
        try:
            return finish(self._transport.call(method, client_timeout=timeout, **arguments))
        except InferenceServerException as error:
            raise translate(error, url=self._url, timeout=timeout) from error


def _brief(reason: str) -> str:
    """Triton's reason without the traceback that it appends."""
    return reason.split("\n")[0].rstrip(";")
