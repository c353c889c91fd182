"""Recast and its rivals, started and warm, each behind the same call."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.compare.edits import Edits
from benchmarks.compare.loops import System, closed_loop
from benchmarks.rivals.notebook import Notebook
from benchmarks.rivals.request import Request
from benchmarks.rivals.servers import WARM_UP, rival_options
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config
from serving.triton_errors import parse_error

REPOSITORY = Path("model_repository")
RIVALS = Path("build/rivals")
WARM_STEPS = 4
PAUSE = 0.1, 0.3
"""Seconds after which an edit is asked for again that there was no place for: between these."""


def ask(client: triton.InferenceServerClient, model: str, request: Request) -> bytes:
    """The edited picture by `replace` or a rival's model of the same contract; EditError for a refusal.

    Where there is no place for the edit, it is asked for again in a moment, as callers do.
    """
    values = {
        "image": np.array([[request.image]], object),
        "prompt": np.array([[request.prompt.encode()]], object),
        "seed": np.array([[request.seed]], np.int64),
        "num_inference_steps": np.array([[request.num_inference_steps]], np.int32),
        "guidance_scale": np.array([[request.guidance_scale]], np.float32),
    }
    inputs = []
    for name, array in values.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    while True:
        try:
            answer = client.infer(model, inputs, outputs=[triton.InferRequestedOutput("edited_image")])
            return answer.as_numpy("edited_image")[0, 0]
        except InferenceServerException as error:
            typed = parse_error(error.message())
            if typed is None or typed.name == "internal":
                raise
            if typed.name != "overloaded":
                raise typed from None
            time.sleep(random.uniform(*PAUSE))


@contextmanager
def served(name: str, options: ServerOptions) -> Iterator[System]:
    """The system that a server with these options serves, which is started and stopped."""
    with start(options) as server, triton.InferenceServerClient(server.grpc_url) as client:
        yield System(name, lambda request: ask(client, options.ready_model, request), server=server)


@contextmanager
def running(precision: str) -> Iterator[list[System]]:
    """Recast, then the rivals at `precision`. They take turns: whoever is not asked waits and computes nothing."""
    with ExitStack() as stack:
        systems = [stack.enter_context(served("recast", ServerOptions(REPOSITORY, config=quickest_config())))]
        notebook = stack.enter_context(Notebook(precision))
        systems.append(System("notebook", notebook.edit, most_clients=1))
        for kind in WARM_UP:
            systems.append(stack.enter_context(served(kind, rival_options(kind, RIVALS / kind, precision))))
        yield systems


def warm_up(systems: Sequence[System], edits: Edits, clients: int) -> None:
    """Some edits by as many clients as will be measured with."""
    for system in systems:
        closed_loop(system, edits, clients, seconds=2)
