"""mask: a picture and the name of a thing in it become the thing's outline and the mask of the edit."""

import hashlib
import time
from functools import partial
from pathlib import Path

import numpy as np
from cachetools import LRUCache

from serving.errors import EditError
from serving.imaging import picture
from serving.intents import MAX_PROMPT_CHARS
from serving.segmentation.edit_mask import edit_masks
from serving.segmentation.segmenter import Masker
from serving.steps.bls import Caller
from serving.steps.report import extended
from serving.steps.step import NoParameters, Step
from serving.steps.tensors import Outputs, blob, bytes_tensor, known_intent, text

REMEMBERED = 32
"""Masks that are given again when the same picture is edited again; as PNG files they are small."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: NoParameters) -> None:
        self.masker = Masker(folder)
        self.outputs: LRUCache[tuple, Outputs] = LRUCache(REMEMBERED)

    def respond(self, request) -> Outputs:
        started = time.perf_counter()
        data, target, intent = blob(request, "image"), text(request, "target"), known_intent(request)
        if len(target) > MAX_PROMPT_CHARS:
            raise EditError("invalid_prompt", f"the target has {len(target)} characters; send at most "
                                              f"{MAX_PROMPT_CHARS}.")  # fmt: skip
        caller = Caller(request)
        key = (hashlib.sha256(data).digest(), target, intent)
        if key not in self.outputs:
            self.outputs[key] = self._outputs(caller, data, target, intent, started)
        return self.outputs[key]

    def _outputs(self, caller: Caller, data: bytes, target: str, intent: str, started: float) -> Outputs:
        image = picture.decode(data)
        found = self.masker.find(image, target, partial(self._segment, caller))
        mask, old = edit_masks(image, found.object_mask, found.others, intent)
        return {
            "mask_image": bytes_tensor(picture.encode_mask(mask)),
            "object_mask": bytes_tensor(picture.encode_mask(old)),
            "mask_score": np.array([[found.score]], np.float32),
            "mask_report": bytes_tensor(extended({}, "mask", self.version, started, candidates=found.candidates)),
        }

    def _segment(
        self, caller: Caller, pixel_values: np.ndarray, input_ids: np.ndarray, attention_mask: np.ndarray
    ) -> np.ndarray:
        inputs = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
        return caller.infer("segmenter", inputs, ["logits"], version=self.version)["logits"]
