"""What an edit can be: one record for each intent. Adding an intent is adding a record.

The language model's grammar, the captions, the shape of the mask, the compositing, the metrics and the messages all
read these records; nothing else in serving knows an intent by its name.
"""

from dataclasses import dataclass
from typing import Literal

MAX_PROMPT_CHARS = 1000
"""Characters of a sentence, and of each text that comes of it or goes with it: target, caption, negative prompt."""

Pixels = Literal["changed", "paint"]
"""How the pixels of an edit come: see `Intent`."""
MaskShape = Literal["outline", "loose_box", "cleared_box"]
"""See `serving.segmentation.edit_mask`."""


@dataclass(frozen=True)
class Intent:
    """One kind of edit.

    `needs_replacement`: whether the sentence must name what comes, and not only what goes.
    `mask`: the shape of what may change, made of the object's outline.
    `caption`: what the diffusion model shall draw there; `{replacement}` comes with its article, `{noun}` is the
    target without colour and place.
    `pixels`: "changed": from the diffusion model, but the picture's own where the model drew the old background
    again. "paint": by light and paint, without the model, where the replacement is a colour
    (`serving.imaging.recolour`); else every pixel of the mask comes from the model.
    `strength`: the share of the denoising steps that are done where a request does not say; below 1 they start from the
    picture, so that the old thing's structure stays.
    """

    name: str
    needs_replacement: bool
    mask: MaskShape
    caption: str
    pixels: Pixels
    strength: float = 1.0


NO_EDIT = "none"
"""What the language model says of a sentence that asks for none of INTENTS."""
INTENTS: dict[str, Intent] = {
    intent.name: intent
    for intent in (
        Intent("replace", True, "loose_box", "{replacement}", pixels="changed"),
        # A recoloured object stands where it stood: all of its outline is wanted.
        Intent("recolour", True, "outline", "{replacement} {noun}", pixels="paint", strength=0.6),
        Intent("remove", False, "cleared_box", "empty background", pixels="changed"),
    )
}
