"""Answers a word; fails in the way that the word names."""

from dataclasses import dataclass

import numpy as np

from serving.errors import EditError
from serving.steps.step import Step
from serving.steps.tensors import bytes_tensor, scalar, text


@dataclass(frozen=True)
class Parameters:
    greeting: str


class TritonPythonModel(Step):
    parameters = Parameters

    def load(self, folder, version, parameters):
        self.place = f"{folder.name} {version} {parameters.greeting} {self.device}"

    def respond(self, request):
        word = text(request, "prompt")
        if word == "typed":
            raise EditError("object_not_found", "there is no typed: look again.")
        if word == "bug":
            raise RuntimeError("a secret of the server")
        count = scalar(request, "num_images", 3)
        return {
            "answer": bytes_tensor(*[f"{word} {self.place}\0"] * count),
            "count": np.array([[count]], np.int32),
        }
