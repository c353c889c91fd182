"""replace_stream: the chain of `replace`, telling of each step that is done and stopping when nobody waits for it.

It calls parse and mask, whichever release is in force, and paints by itself with the networks of its own release.
"""

from collections.abc import Generator
from pathlib import Path

import numpy as np

from serving.diffusion.options import check_preview_side
from serving.steps.bls import Caller, parameters
from serving.steps.decoupled import StreamingStep
from serving.steps.inpaint import Painter, Wanted
from serving.steps.report import merged, read_report
from serving.steps.step import key_of
from serving.steps.tensors import Outputs, blob, bytes_tensor, scalar

STEP = "replace_stream"
PARSED = ("intent", "target", "replacement", "caption", "parse_score", "parse_report")
MASKED = ("mask_image", "object_mask", "mask_score", "mask_report")


class TritonPythonModel(StreamingStep):
    released_as = "inpaint"

    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        self.painters = {version: Painter(folder, version, STEP)}

    def respond_each(self, request, caller: Caller) -> Generator[Outputs, None, Outputs]:
        painter = self.painter_for(request)
        options = painter.options(request)
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
        wanted = Wanted(
            image=image,
            mask_image=masked["mask_image"].item(),
            caption=parsed["caption"].item().decode(),
            object_mask=masked["object_mask"].item(),
            intent=parsed["intent"].item().decode(),
        )
        reports = (read_report(report.item(), "report") for report in (parsed["parse_report"], masked["mask_report"]))
        steps = painter.paint(wanted, options, caller, merged(*reports))
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                painted = end.value
                break
            preview = {} if side is None else {"preview": bytes_tensor(painter.preview(done, side, caller))}
            yield progress("inpaint", done.step, done.steps) | preview
        understood = {name: parsed[name] for name in ("intent", "target", "replacement", "parse_score")}
        mask = {"mask_image": painted.pop("blended_mask"), "mask_score": masked["mask_score"]}
        return painted | mask | understood

    def painter_for(self, request) -> Painter:
        """That of the release which shall answer; both are here while there is a canary."""
        release = self.canary.release_for(key_of(request))
        if release not in self.painters:
            self.painters[release] = Painter(self.repository / "inpaint" / str(release), release, STEP)
        return self.painters[release]


def progress(stage: str, step: int, steps: int) -> Outputs:
    """The response that tells that step number `step` of a stage's `steps` is done."""
    return {
        "stage": bytes_tensor(stage),
        "step": np.array([[step]], np.int32),
        "steps": np.array([[steps]], np.int32),
    }
