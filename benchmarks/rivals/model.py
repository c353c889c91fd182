"""Recast's `replace` as NVIDIA's tutorials would have it: one Python model that holds the whole pipeline."""

import locale
import os
from dataclasses import dataclass
from pathlib import Path

# Recast's launcher keeps OpenMP's threads from waiting busily, which costs torch half its speed on small networks.
os.environ.pop("OMP_WAIT_POLICY", None)
# torch.compile reads its sources in the locale's encoding, which in a stub is ASCII.
locale.setlocale(locale.LC_CTYPE, "C.UTF-8")

from benchmarks.rivals.pipeline import Pipeline  # noqa: E402
from benchmarks.rivals.request import Request  # noqa: E402
from serving.errors import EditError  # noqa: E402
from serving.steps.step import Step, guarded  # noqa: E402
from serving.steps.tensors import blob, bytes_tensor, scalar, text  # noqa: E402

DEFAULTS = {"seed": 0, "num_inference_steps": 20, "guidance_scale": 4.0}


@dataclass(frozen=True)
class Parameters:
    """`checkpoints` is a folder, `warm_up` how many requests together the pipeline sees first: "1,2,8"."""

    checkpoints: str
    precision: str
    warm_up: str


class TritonPythonModel(Step):
    parameters = Parameters

    def load(self, folder: Path, version: int, parameters: Parameters) -> None:
        self.pipeline = Pipeline(Path(parameters.checkpoints), parameters.precision)
        self.pipeline.warm_up([int(count) for count in parameters.warm_up.split(",")])

    def respond_all(self, requests) -> list[dict | EditError]:
        asked = [guarded(_request, request) for request in requests]
        answers = iter(self.pipeline.edit_all([each for each in asked if isinstance(each, Request)]))
        told = [next(answers) if isinstance(each, Request) else each for each in asked]
        return [each if isinstance(each, EditError) else {"edited_image": bytes_tensor(each)} for each in told]


def _request(request) -> Request:
    options = {name: scalar(request, name, default) for name, default in DEFAULTS.items()}
    return Request(blob(request, "image"), text(request, "prompt"), **options)
