"""replace_stream: the chain of `replace` that tells how far it is, and stops when nobody waits for it.

It calls parse and mask, whichever release is in force, and inpaints by itself with the networks of its own release.
"""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np

from serving.diffusion.denoise import Progress
from serving.diffusion.options import check_preview_side
from serving.steps.bls import Caller, parameters
from serving.steps.decoupled import Reply, StreamingStep
from serving.steps.inpaint import InpaintPipeline, read_request, read_wish
from serving.steps.report import merged, read_report
from serving.steps.step import NoParameters, key_of
from serving.steps.tensors import blob, bytes_tensor, scalar

STEP = "replace_stream"
PARSED = ("intent", "target", "replacement", "caption", "parse_score", "parse_report")
MASKED = ("mask_image", "object_mask", "mask_score", "mask_report")


class TritonPythonModel(StreamingStep):
    released_as = "inpaint"

    def load(self, folder: Path, version: int, parameters: NoParameters) -> None:
        self.pipelines = {version: InpaintPipeline(folder, version, STEP)}

    def respond_each(self, request, caller: Caller) -> Generator[Reply]:
        pipeline = self.pipeline_for(request)
        options = pipeline.options(request)
        side = check_preview_side(scalar(request, "preview_side"))
        image = blob(request, "image")
        asked = {"prompt": bytes_tensor(blob(request, "prompt"))}
        given = parameters(request)  # what decides about priority and canary in every step
        caller.infer("admit", asked, ["admitted_prompt"], parameters=given)
        parsed = caller.infer("parse", asked, PARSED, parameters=given)
        yield progress("parse", 1, 1)
        named = {"target": parsed["target"], "intent": parsed["intent"]}
        masked = caller.infer("mask", {"image": bytes_tensor(image), **named}, MASKED, parameters=given)
        yield progress("mask", 1, 1)
        reports = (read_report(report.item(), "report") for report in (parsed["parse_report"], masked["mask_report"]))
        report, started = merged(*reports), time.perf_counter()
        intent, target, replacement, caption = (parsed[name].item().decode() for name in PARSED[:4])
        wanted = read_request(
            image,
            masked["mask_image"].item(),
            masked["object_mask"].item(),
            caption=caption,
            intent=intent,
            replacement=replacement,
            options=options,
        )
        wish = read_wish(intent, target, caption, replacement)
        # Closed here: a preview that nobody waits for ends this loop and not the pipeline's, which has steps to count.
        with closing(pipeline.run(wanted, caller, wish, report)) as events:
            for event in events:
                if isinstance(event, Progress):
                    preview = {} if side is None else {"preview": bytes_tensor(pipeline.preview(event, side, caller))}
                    yield progress("inpaint", event.step, event.steps, **preview)
                else:
                    painted = pipeline.outputs(event, report, started)
        understood = {name: parsed[name] for name in ("intent", "target", "replacement", "parse_score")}
        mask = {"mask_image": painted.pop("blended_mask"), "mask_score": masked["mask_score"]}
        yield Reply(painted | mask | understood, final=True)

    def pipeline_for(self, request) -> InpaintPipeline:
        """That of the release which shall answer; both are here while there is a canary."""
        release = self.canary.release_for(key_of(request))
        if release not in self.pipelines:
            self.pipelines[release] = InpaintPipeline(self.repository / "inpaint" / str(release), release, STEP)
        return self.pipelines[release]


def progress(stage: str, step: int, steps: int, **preview: np.ndarray) -> Reply:
    """Tells that number `step` of a stage's `steps` is done."""
    told = {
        "stage": bytes_tensor(stage),
        "step": np.array([[step]], np.int32),
        "steps": np.array([[steps]], np.int32),
    }
    return Reply(told | preview)
