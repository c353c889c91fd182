"""What the calls return."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image

from .pictures import decoded


@dataclass(frozen=True)
class Progress:
    """One step of an edit is done: number `step` of the `steps` of `stage`, which is "parse", "mask" or "inpaint".

    When the server paints again what went wrong, `step` counts on and `steps` grows by those of the new attempt.
    `preview_jpeg`, when previews were asked for, shows the square around the object as it stands after the step.
    """

    stage: str
    step: int
    steps: int
    preview_jpeg: bytes | None = field(default=None, repr=False)

    @cached_property
    def preview(self) -> Image.Image | None:
        return None if self.preview_jpeg is None else decoded(self.preview_jpeg)


@dataclass(frozen=True)
class Edit:
    """An edited picture: `n` variants (`pngs`, `seeds`) of one edit.

    `pngs` are the server's own PNG files; `pictures` and `picture` decode them, in the mode and size of the
    input after its EXIF rotation. `mask` is 8-bit: 255 = replaced, 0 = untouched to the byte, between =
    blended. Scores are 0 … 1; `edit_score` tells how far the server sees in the pictures what was asked for, in the
    worst of them, and is None where it could not look. `report` holds the release and the milliseconds of each step,
    the size of the crop, the largest background difference, and each picture's attempts and score; `request_id` names
    the call in the server's log and traces. The same inputs and seed give the same edit.
    """

    pngs: tuple[bytes, ...] = field(repr=False)
    mask_png: bytes = field(repr=False)
    intent: str
    target: str
    replacement: str
    parse_score: float
    mask_score: float
    edit_score: float | None
    seeds: tuple[int, ...]
    report: dict[str, Any] = field(repr=False)
    request_id: str = field(default="", compare=False)

    @property
    def png(self) -> bytes:
        """The first variant's PNG file."""
        return self.pngs[0]

    @property
    def seed(self) -> int:
        """The first variant's seed."""
        return self.seeds[0]

    @property
    def attempts(self) -> int:
        """How often the server painted, for the variant that took the most attempts."""
        return max(self.report.get("attempts", [1]))

    @property
    def picture(self) -> Image.Image:
        """The first variant."""
        return self.pictures[0]

    @cached_property
    def pictures(self) -> tuple[Image.Image, ...]:
        return tuple(decoded(png) for png in self.pngs)

    @cached_property
    def mask(self) -> Image.Image:
        return decoded(self.mask_png)

    def summary(self) -> dict[str, Any]:
        """All but the pictures, ready for JSON."""
        return {
            "intent": self.intent,
            "target": self.target,
            "replacement": self.replacement,
            "parse_score": self.parse_score,
            "mask_score": self.mask_score,
            "edit_score": self.edit_score,
            "seeds": list(self.seeds),
            "report": self.report,
            "request_id": self.request_id,
        }


@dataclass(frozen=True)
class ParseResult:
    """What a sentence asks for; `caption` is what the diffusion model will draw, `parse_score` is 0 … 1."""

    intent: str
    target: str
    replacement: str
    caption: str
    parse_score: float
    report: dict[str, Any] = field(repr=False)
    request_id: str = field(default="", compare=False)

    def summary(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "intent": self.intent,
            "target": self.target,
            "replacement": self.replacement,
            "caption": self.caption,
            "parse_score": self.parse_score,
            "report": self.report,
            "request_id": self.request_id,
        }


@dataclass(frozen=True)
class MaskResult:
    """Where an object is, at the picture's own size, as 8-bit PNG files.

    `object_mask` is the object's own outline, with its shadow where the asked intent takes the object away; `mask` is
    what such an edit would replace: grown, loosened, feathered. `mask_score` is 0 … 1.
    """

    mask_png: bytes = field(repr=False)
    object_mask_png: bytes = field(repr=False)
    mask_score: float
    report: dict[str, Any] = field(repr=False)
    request_id: str = field(default="", compare=False)

    @cached_property
    def mask(self) -> Image.Image:
        return decoded(self.mask_png)

    @cached_property
    def object_mask(self) -> Image.Image:
        return decoded(self.object_mask_png)

    def summary(self) -> dict[str, Any]:
        """All but the pictures, ready for JSON."""
        return {"mask_score": self.mask_score, "report": self.report, "request_id": self.request_id}


@dataclass(frozen=True)
class StepStatus:
    """One model of the server: whether it answers, and the releases that are loaded."""

    ready: bool
    releases: tuple[int, ...]


@dataclass(frozen=True)
class Status:
    """A server that answers. `ready` means that an edit can be asked for now."""

    ready: bool
    server: str
    steps: dict[str, StepStatus]

    def summary(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        steps = {name: {"ready": step.ready, "releases": list(step.releases)} for name, step in self.steps.items()}
        return {"ready": self.ready, "server": self.server, "steps": steps}
