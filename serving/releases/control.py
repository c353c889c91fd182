"""What a deployment needs of a running server. recast.control.Control has it all; serving imports nothing of recast."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

LOAD_TIMEOUT = 1800.0
"""Seconds that a server may take to load a model or to unload one, whoever waits for it: a language model of 32 billion
parameters comes from a slow disk beside traffic. A shorter limit would end what would have succeeded."""


class Answer(Protocol):
    """The outputs of an inference."""

    def as_numpy(self, name: str) -> Any:
        """The output `name` with the batch axis, an object array for BYTES."""


class Control(Protocol):
    """Control of a server's models, and inference on them, with the admin key.

    What goes wrong is an exception whose text is one sentence; its `name` is the error's in the served contract.
    """

    def load(self, model: str, *, timeout: float) -> None:
        """Load what the model's folder holds now, and unload what it no longer holds, within `timeout` seconds."""

    def unload(self, model: str, *, timeout: float) -> None:
        """Take the model away."""

    def loaded(self, model: str) -> tuple[int, ...]:
        """The versions that take requests, ascending."""

    def states(self, model: str) -> dict[int, str]:
        """Triton's state, such as READY, of each version that the server knows of."""

    def wait_unloaded(self, model: str, versions: Collection[int]) -> None:
        """Until the requests in flight on `versions` are answered and they are gone."""

    def config(self, model: str) -> Any:
        """The model's config as it is served: a protobuf message of the caller's own, free to be changed."""

    def infer(self, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], timeout: float) -> Answer:
        """One inference within `timeout` seconds; arrays carry the batch axis."""
