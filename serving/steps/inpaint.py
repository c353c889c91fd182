"""Paints edits with one release of the diffusion model: the work that `inpaint` and `replace_stream` share."""

import io
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from PIL import Image

from serving.diffusion.inpaint import Done, Job, Outcome, finish, repaint
from serving.diffusion.options import Options
from serving.diffusion.pipeline import Assets
from serving.diffusion.pipeline import decode as decode_latents
from serving.errors import EditError
from serving.imaging.picture import decode, decode_mask, encode, encode_mask
from serving.intents import INTENTS, MAX_PROMPT_CHARS
from serving.steps.bls import Caller
from serving.steps.metrics import Metrics
from serving.steps.report import extended, merged, read_report
from serving.steps.step import Step
from serving.steps.tensors import Outputs, blob, bytes_tensor, scalar, text

REMEMBERED = 16
"""Texts whose embeddings are kept, the empty one above all."""


@dataclass(frozen=True)
class Wanted:
    """What to paint where: encoded files, what the hole shall show, and why.

    `object_mask` is the old object before its mask was loosened: always replaced, whatever else of the mask is kept.
    """

    image: bytes
    mask_image: bytes
    caption: str
    object_mask: bytes | None = None
    intent: str = "replace"


class Painter:
    """The assets in `folder`, the networks of the same `version`, and the texts that they encoded lately.

    The steps done and the share of each picture that was changed are counted for the model named `step`.
    """

    def __init__(self, folder: Path, version: int, step: str):
        self.assets = Assets.read(folder)
        self.version = version
        self.metrics = Metrics(step, version)
        self.texts: LRUCache[bytes, Mapping[str, np.ndarray]] = LRUCache(REMEMBERED)

    def options(self, request) -> Options:
        """The request's options, checked, the release's defaults for those left out. Raises EditError."""
        settings = self.assets.settings
        return Options.check(
            seed=scalar(request, "seed"),
            num_inference_steps=scalar(request, "num_inference_steps", settings["num_inference_steps"]),
            guidance_scale=scalar(request, "guidance_scale", settings["guidance_scale"]),
            negative_prompt=text(request, "negative_prompt", ""),
            num_images=scalar(request, "num_images", 1),
        )

    def paint(
        self, wanted: Wanted, options: Options, caller: Caller, report: dict[str, Any]
    ) -> Generator[Done, None, Outputs]:
        """Yield after each denoising step; return the outputs of `inpaint`, its part added to `report`.

        Raises EditError, `cancelled` before the step that nobody waits for.
        """
        started = time.perf_counter()
        outcome = yield from self._counted(repaint(self.assets, partial(self._infer, caller), _job(wanted, options)))
        self.metrics.observe("recast_mask_area_ratio", np.count_nonzero(outcome.blend) / outcome.blend.size)
        x0, y0, x1, y1 = outcome.crop.box
        facts = {"crop": [x1 - x0, y1 - y0], "background_difference": outcome.background_difference}
        return {
            "edited_image": bytes_tensor(*(encode(picture) for picture in outcome.pictures)),
            "blended_mask": bytes_tensor(encode_mask(outcome.blend)),
            "used_seed": np.array([options.seeds], np.int64),
            "report": bytes_tensor(extended(report, "inpaint", self.version, started, **facts)),
        }

    def _counted(self, steps: Generator[Done, None, Outcome]) -> Generator[Done, None, Outcome]:
        """`steps`; at their end, whoever ended them, those done and those left are counted."""
        done = None
        try:
            while True:
                try:
                    done = next(steps)
                except StopIteration as end:
                    return end.value
                yield done
        finally:
            if done is not None:
                self.metrics.count("recast_denoising_steps_total", done.step)
                self.metrics.count("recast_cancelled_steps_total", done.steps - done.step)

    def preview(self, done: Done, side: int, caller: Caller) -> bytes:
        """The first variant's crop as foreseen at a step, a JPEG file of `side` × `side` pixels."""
        pixels = decode_latents(self.assets, partial(self._infer, caller), done.clean[:1])[0]
        file = io.BytesIO()
        small = Image.fromarray(np.rint(pixels).astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
        small.save(file, "JPEG", quality=80)
        return file.getvalue()

    def _infer(
        self, caller: Caller, network: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]
    ) -> Mapping[str, np.ndarray]:
        """One of the release's networks; a text is encoded once."""
        call = partial(caller.infer, network, inputs, outputs, version=self.version)
        if network != "text_encoder":
            return call()
        key = inputs["input_ids"].tobytes()
        if key not in self.texts:
            self.texts[key] = call()
        return self.texts[key]


def _job(wanted: Wanted, options: Options) -> Job:
    if len(wanted.caption) > MAX_PROMPT_CHARS:
        raise EditError("invalid_prompt", f"the caption is too long; send at most {MAX_PROMPT_CHARS} characters.")
    picture = decode(wanted.image)
    mask = decode_mask(wanted.mask_image, picture.size)
    whole = wanted.intent in INTENTS and INTENTS[wanted.intent].paints_whole_mask
    outline = None if whole else wanted.object_mask
    old = None if outline is None else decode_mask(outline, picture.size)
    return Job(picture, mask, wanted.caption, options, old)


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        self.painter = Painter(folder, version, "inpaint")

    def respond(self, request) -> Outputs:
        caller = Caller(request, deadline=scalar(request, "deadline", math.inf))
        options = self.painter.options(request)
        wanted = Wanted(
            image=blob(request, "image"),
            mask_image=blob(request, "mask_image"),
            caption=text(request, "caption"),
            object_mask=blob(request, "object_mask", None),
            intent=text(request, "intent", "replace"),
        )
        report = merged(*(read_report(text(request, name, "{}"), name) for name in ("parse_report", "mask_report")))
        return finish(self.painter.paint(wanted, options, caller, report))
