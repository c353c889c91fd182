"""The denoising loop: from noise to latents by a sampler's plan.

Every sampler in serving.diffusion.samplers is linear in samples and in what the model said of them. So a plan is a
table of coefficients, one row a call of the model, and a single loop runs them all.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

Model = Callable[[np.ndarray, float], np.ndarray]
"""(sample, timestep) -> output; sample and output are float32 [n, channels, h, w]."""


class Weights(NamedTuple):
    """A new sample: `base` times the base sample, and `history` times what was said, the newest first."""

    base: float
    history: tuple[float, ...] = ()


class Step(NamedTuple):
    """One call of the model at sample x: h = said_sample·x + said_output·model(x·model_scale, t) joins the history.

    The base sample becomes `base` of the old one, or x where that is None; x then becomes `next` of the base
    sample, plus `noise` times fresh noise. `clean`, the weights of x and of the output in the picture that the model
    predicts, is None where that is what joins the history.
    """

    timestep: float
    said_sample: float
    said_output: float
    next: Weights
    base: Weights | None = None
    noise: float = 0.0
    model_scale: float = 1.0
    clean: tuple[float, float] | None = None


class Denoised(NamedTuple):
    """After a step: the new sample, and the picture that the model predicted from the old one, both [n, c, h, w]."""

    sample: np.ndarray
    clean: np.ndarray


class Plan(NamedTuple):
    """The initial sample is noise times `noise_scale`; then `steps` in order."""

    noise_scale: float
    steps: tuple[Step, ...]


def denoise(model: Model, plan: Plan, draws: Iterator[np.ndarray]) -> Iterator[Denoised]:
    """Run `plan`: the sample, float32 [n, channels, h, w], after each call of the model; the last is the result.

    `draws` yields standard normal noise of the sample's shape: the start, then what samplers add on the way.
    """
    sample = next(draws) * np.float32(plan.noise_scale)
    base, history = sample, list[np.ndarray]()
    memory = max(len(weights.history) for step in plan.steps for weights in (step.next, step.base) if weights)
    for step in plan.steps:
        output = model(sample * np.float32(step.model_scale), step.timestep)
        history.insert(0, np.float32(step.said_sample) * sample + np.float32(step.said_output) * output)
        clean = history[0] if step.clean is None else (
            np.float32(step.clean[0]) * sample + np.float32(step.clean[1]) * output)  # fmt: skip
        del history[memory:]
        base = sample if step.base is None else _mixed(step.base, base, history)
        sample = _mixed(step.next, base, history)
        if step.noise:
            sample += np.float32(step.noise) * next(draws)
        yield Denoised(sample, clean)


def _mixed(weights: Weights, base: np.ndarray, history: list[np.ndarray]) -> np.ndarray:
    total = np.float32(weights.base) * base
    for weight, said in zip(weights.history, history, strict=False):
        if weight:
            total += np.float32(weight) * said
    return total


def draws(seeds: Sequence[int], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Endless standard normal float32 [seeds, *shape]; row i depends on `seeds[i]` >= 0 and the draw's number alone."""
    sources = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    while True:
        yield np.stack([source.standard_normal(shape, dtype=np.float32) for source in sources])
