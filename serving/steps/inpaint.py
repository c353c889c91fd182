"""inpaint: what a mask marks becomes what a caption says, by one release of the diffusion model."""

import io
import math
import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from PIL import Image

from serving.diffusion.assets import Assets
from serving.diffusion.denoise import Progress
from serving.diffusion.inpaint import InpaintRequest, InpaintResult, inpaint, result_of
from serving.diffusion.options import ATTEMPTS, Options
from serving.diffusion.pipeline import decode_latents
from serving.errors import EditError
from serving.imaging.picture import decode, decode_mask, encode, encode_mask
from serving.intents import INTENTS, MAX_PROMPT_CHARS
from serving.language.colours import paint_of
from serving.language.materials import material_paint
from serving.segmentation.second_look import Wish
from serving.steps.bls import Caller
from serving.steps.metrics import Metrics
from serving.steps.report import extended, merged, read_report
from serving.steps.second_look import Lookers
from serving.steps.step import NoParameters, Step
from serving.steps.tensors import Outputs, blob, bytes_tensor, known_intent, scalar, text

UNSEEN = -1.0
"""The score of an edit that nobody could look at."""
REMEMBERED = 16
"""Texts whose embeddings are kept, the empty one above all."""


class InpaintPipeline:
    """The assets in `folder`, the networks of the same `version`, and the texts that they encoded lately.

    The denoising steps done and the share of each picture that was changed are counted for the model named `step`.
    """

    def __init__(self, folder: Path, version: int, step: str):
        self.assets = Assets.read(folder)
        self.version = version
        self.metrics = Metrics(step, version)
        self.texts: LRUCache[bytes, Mapping[str, np.ndarray]] = LRUCache(REMEMBERED)
        self.lookers = Lookers(folder.parent.parent)

    def options(self, request) -> Options:
        """The request's options, checked, the release's defaults for those left out. Raises EditError."""
        settings = self.assets.settings
        return Options.check(
            seed=scalar(request, "seed"),
            num_inference_steps=scalar(request, "num_inference_steps", settings.num_inference_steps),
            guidance_scale=scalar(request, "guidance_scale", settings.guidance_scale),
            negative_prompt=text(request, "negative_prompt", ""),
            num_images=scalar(request, "num_images", 1),
            strength=scalar(request, "strength"),
            max_attempts=scalar(request, "max_attempts", ATTEMPTS),
        )

    def run(
        self, request: InpaintRequest, caller: Caller, wish: Wish | None, report: dict[str, Any]
    ) -> Generator[Progress | InpaintResult]:
        """Yield after each denoising step, and at last the result, which is looked at for `wish`.

        At the end, whoever ended it, the denoising steps done and those left are counted. Raises EditError,
        `cancelled` before the denoising step that nobody waits for.
        """
        caller.check()  # a recolour by paint calls no network that would
        progress = None
        try:
            look = partial(self.lookers.look, report, wish, caller)
            for event in inpaint(self.assets, partial(self._infer, caller), request, look, caller.in_time):
                if isinstance(event, Progress):
                    progress = event
                yield event
        finally:
            if progress is not None:
                self.metrics.count("recast_denoising_steps_total", progress.step)
                self.metrics.count("recast_cancelled_steps_total", progress.steps - progress.step)

    def outputs(self, result: InpaintResult, report: dict[str, Any], started: float) -> Outputs:
        """The outputs of `inpaint`, its part added to `report`; `started`, of perf_counter, is when work began."""
        blended_mask = result.blended_mask
        self.metrics.observe("recast_mask_area_ratio", np.count_nonzero(blended_mask) / blended_mask.size)
        x0, y0, x1, y1 = result.crop.box
        attempts = [attempt.attempts for attempt in result.attempts]
        self.metrics.count("recast_retries_total", sum(attempts) - len(attempts))
        scores = [attempt.sight.score for attempt in result.attempts if attempt.sight is not None]
        facts = {
            "crop": [x1 - x0, y1 - y0],
            "background_difference": result.background_difference,
            "attempts": attempts,
            "edit_scores": [round(score, 4) for score in scores],
        }
        return {
            "edited_image": bytes_tensor(*(encode(image) for image in result.images)),
            "blended_mask": bytes_tensor(encode_mask(blended_mask)),
            "used_seed": np.array([[attempt.seed for attempt in result.attempts]], np.int64),
            "edit_score": np.array([[min(scores, default=UNSEEN)]], np.float32),
            "report": bytes_tensor(extended(report, "inpaint", self.version, started, **facts)),
        }

    def preview(self, progress: Progress, side: int, caller: Caller) -> bytes:
        """The first image's crop as the model predicts it now, a JPEG file of `side` × `side` pixels."""
        pixels = decode_latents(self.assets, partial(self._infer, caller), progress.denoised[:1])[0]
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


def read_request(
    image: bytes,
    mask_image: bytes,
    object_mask: bytes | None,
    *,
    caption: str,
    intent: str,
    replacement: str,
    options: Options,
) -> InpaintRequest:
    """The request whose pictures are given as files; `intent` is one of INTENTS or "". Raises EditError.

    `object_mask` is the old object with its shadow: always replaced, whatever else of the mask is kept.
    Where the intent's pixels come by paint and `replacement` names a colour, they do, unless the caller chose a
    strength: that is the diffusion model's, which then starts from the object in that colour, or a material's own.
    """
    for name, words in (("caption", caption), ("replacement", replacement)):
        if len(words) > MAX_PROMPT_CHARS:
            raise EditError("invalid_prompt", f"the {name} is too long; send at most {MAX_PROMPT_CHARS} characters.")
    picture = decode(image)
    mask = decode_mask(mask_image, picture.size)
    by_paint = bool(intent) and INTENTS[intent].pixels == "paint"
    paint = paint_of(replacement) if by_paint else None
    underpaint = paint or material_paint(replacement) if by_paint else None
    if options.strength is not None:
        paint = None
    if intent:
        options = options.with_default_strength(INTENTS[intent].strength)
    if by_paint and paint is None:
        object_mask = None
    old = None if object_mask is None else decode_mask(object_mask, picture.size)
    return InpaintRequest(picture, mask, caption, options, old, paint, underpaint)


def read_wish(intent: str, target: str, caption: str, replacement: str) -> Wish | None:
    """What shall be seen after the edit; None where that is not said. Raises EditError for endless words."""
    if len(target) > MAX_PROMPT_CHARS:
        raise EditError("invalid_prompt", f"the target is too long; send at most {MAX_PROMPT_CHARS} characters.")
    return Wish.of(intent, target, caption, replacement)


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: NoParameters) -> None:
        self.pipeline = InpaintPipeline(folder, version, "inpaint")

    def respond(self, request) -> Outputs:
        caller = Caller(request, deadline=scalar(request, "deadline", math.inf))
        options = self.pipeline.options(request)
        report = merged(*(read_report(text(request, name, "{}"), name) for name in ("parse_report", "mask_report")))
        intent, caption = known_intent(request), text(request, "caption")
        replacement = text(request, "replacement", "")
        started = time.perf_counter()
        wanted = read_request(
            blob(request, "image"),
            blob(request, "mask_image"),
            blob(request, "object_mask", None),
            caption=caption,
            intent=intent,
            replacement=replacement,
            options=options,
        )
        wish = read_wish(intent, text(request, "target", ""), caption, replacement)
        return self.pipeline.outputs(result_of(self.pipeline.run(wanted, caller, wish, report)), report, started)
