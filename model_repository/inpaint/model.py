"""inpaint: picture, mask and caption in, the repainted pictures out, with a proof that the rest is untouched."""

import math
from pathlib import Path

from serving.calling import Caller
from serving.painting import Painter, Wanted
from serving.repainting import finish
from serving.report import merged, read_report
from serving.triton import Answer, Step, blob, scalar, text


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, parameters: dict[str, str]) -> None:
        self.painter = Painter(folder, version, "inpaint")

    def respond(self, request) -> Answer:
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
