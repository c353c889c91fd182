"""What every system is asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One edit; `image` is an encoded picture."""

    image: bytes
    prompt: str
    seed: int
    num_inference_steps: int
    guidance_scale: float
