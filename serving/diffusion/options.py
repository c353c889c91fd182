"""What a caller may choose about an edit, checked at the edge."""

import math
import secrets
from dataclasses import dataclass, replace

import numpy as np

from serving.errors import EditError
from serving.intents import MAX_PROMPT_CHARS

MAX_STEPS = 100
MAX_GUIDANCE_SCALE = 30.0
MAX_IMAGES = 8
MAX_SEED = 2**63 - 1
MAX_ATTEMPTS = 5
ATTEMPTS = 3
"""Unless the caller says otherwise: the first, and at most two more where it went wrong."""
PREVIEW_SIDES = (16, 512)
DRAWN_SEEDS = 2**32
"""A drawn seed stays short enough to be copied by hand."""


@dataclass(frozen=True)
class Options:
    """Checked options of one request. Image i of `num_images` is made from seed + i, and where that goes wrong from
    another, in `max_attempts` at most.

    `strength` is diffusers': the share of the denoising steps that are done, from the picture with as much noise as
    they take away; at 1 from noise alone. None: what the intent of the edit has.
    """

    seed: int
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: str = ""
    num_images: int = 1
    strength: float | None = None
    max_attempts: int = 1

    @property
    def seeds(self) -> list[int]:
        return [self.seed + i for i in range(self.num_images)]

    def seed_of(self, variant: int, attempt: int) -> int:
        """The seed of an attempt, the first being 0, at a variant: after `seeds`, the next that no other has."""
        return (self.seed + attempt * self.num_images + variant) % (MAX_SEED + 1)

    @property
    def guided(self) -> bool:
        """Whether a step needs a second, unconditional row an image (as in diffusers: above a scale of 1)."""
        return self.guidance_scale > 1

    @classmethod
    def check(
        cls,
        *,
        seed: int | None,
        num_inference_steps: int,
        guidance_scale: float,
        negative_prompt: str,
        num_images: int,
        strength: float | None = None,
        max_attempts: int = ATTEMPTS,
    ) -> "Options":
        """Options from a request's values, `seed` drawn when None. Raises EditError."""
        _within("num_inference_steps", num_inference_steps, 1, MAX_STEPS)
        _within("guidance_scale", guidance_scale, 0, MAX_GUIDANCE_SCALE)
        _within("num_images", num_images, 1, MAX_IMAGES)
        _within("max_attempts", max_attempts, 1, MAX_ATTEMPTS)
        if seed is None:
            seed = secrets.randbelow(DRAWN_SEEDS)
        _within("seed", seed, 0, MAX_SEED - num_images + 1)
        if len(negative_prompt) > MAX_PROMPT_CHARS:
            raise EditError("invalid_prompt", f"the negative prompt has {len(negative_prompt)} characters; "
                                              f"send at most {MAX_PROMPT_CHARS}.")  # fmt: skip
        if strength is not None:
            strength = _checked_strength(strength, num_inference_steps)
        return cls(seed, num_inference_steps, guidance_scale, negative_prompt, num_images, strength, max_attempts)

    def with_default_strength(self, strength: float) -> "Options":
        """With `strength`, or a little more where no denoising step would be left, unless the request chose one."""
        if self.strength is not None:
            return self
        return replace(self, strength=max(strength, 1 / self.num_inference_steps))


def _checked_strength(strength: float, num_inference_steps: int) -> float:
    """The strength as the caller wrote it: 0.7 comes as 0.69999999 in FP32, and would lose a denoising step."""
    strength = float(np.format_float_positional(np.float32(strength)))
    if not 0 < strength <= 1:  # NaN is not, too
        raise EditError("invalid_option", f"strength is {strength:g}; send a number above 0, up to 1.")
    if int(num_inference_steps * strength) < 1:
        raise EditError("invalid_option", f"strength {strength:g} leaves none of num_inference_steps "
                        f"{num_inference_steps}; send a strength from {math.ceil(100 / num_inference_steps) / 100:g} "
                        "on.")  # fmt: skip
    return strength


def check_preview_side(side: int | None) -> int | None:
    """The pixels a side of the previews that a caller wants, None for no previews. Raises EditError."""
    if side is not None:
        _within("preview_side", side, *PREVIEW_SIDES)
    return side


def _within(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise EditError("invalid_option", f"{name} is {value:g}; send a number from {low:g} to {high:g}."
                        if isinstance(value, float) else
                        f"{name} is {value}; send a whole number from {low} to {high}.")  # fmt: skip
