"""inpaint: picture, mask and caption in, the repainted pictures out, with a proof that the rest is untouched."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving.errors import EditError
from serving.inpainting import Assets
from serving.options import MAX_PROMPT_CHARS, Options
from serving.picture import decode, decode_mask, encode, encode_mask
from serving.recent import Recent
from serving.repainting import Job, finish, repaint
from serving.report import extended, merged, read_report
from serving.triton import Step, blob, bytes_tensor, infer, scalar, text

REMEMBERED = 16
"""Texts whose embeddings are kept, the empty one above all."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        self.assets = Assets.read(folder)
        self.texts: Recent[dict[str, np.ndarray]] = Recent(REMEMBERED)

    def respond(self, request) -> dict[str, np.ndarray]:
        started = time.perf_counter()
        job = self._job(request)
        names = ("parse_report", "mask_report")
        report = merged(*(read_report(text(request, name, "{}"), name) for name in names))
        outcome = finish(repaint(self.assets, self.infer, job))
        answer = {
            "edited_image": bytes_tensor(*(encode(picture) for picture in outcome.pictures)),
            "blended_mask": bytes_tensor(encode_mask(outcome.blend)),
            "used_seed": np.array([job.options.seeds], np.int64),
        }
        x0, y0, x1, y1 = outcome.crop.box
        facts = {"crop": [x1 - x0, y1 - y0], "background_difference": outcome.background_difference}
        return answer | {"report": bytes_tensor(extended(report, "inpaint", self.version, started, **facts))}

    def infer(self, network: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """One of the release's networks; a text is encoded once."""

        def call() -> dict[str, np.ndarray]:
            return infer(network, inputs, outputs, version=self.version)

        return self.texts.get(inputs["input_ids"].tobytes(), call) if network == "text_encoder" else call()

    def _job(self, request) -> Job:
        settings = self.assets.settings
        options = Options.check(
            seed=scalar(request, "seed"),
            num_inference_steps=scalar(request, "num_inference_steps", settings["num_inference_steps"]),
            guidance_scale=scalar(request, "guidance_scale", settings["guidance_scale"]),
            negative_prompt=text(request, "negative_prompt", ""),
            num_images=scalar(request, "num_images", 1),
        )
        caption = text(request, "caption")
        if len(caption) > MAX_PROMPT_CHARS:
            raise EditError("invalid_prompt", f"the caption is too long; send at most {MAX_PROMPT_CHARS} characters.")
        picture = decode(blob(request, "image"))
        mask = decode_mask(blob(request, "mask_image"), picture.size)
        old = blob(request, "object_mask", None)
        if text(request, "intent", "replace") == "recolour":
            old = None  # the same object in the same place: all of its tight mask is wanted
        old = None if old is None else decode_mask(old, picture.size)
        return Job(picture, mask, caption, options, old)
