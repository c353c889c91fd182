"""The denoising loop: from noise to latents by a sampler's plan.

Every sampler in serving.diffusion.samplers is linear in samples and in the model's outputs. So a plan is a table of
coefficients, one row a call of the model, and a single loop runs them all.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

Model = Callable[[np.ndarray, float], np.ndarray]
"""(sample, timestep) -> output; sample and output are float32 [n, channels, h, w]."""


class Weights(NamedTuple):
    """A new sample: `base` times the base sample, and `history` times the converted model outputs, the newest first."""

    base: float
    history: tuple[float, ...] = ()


class DenoisingStep(NamedTuple):
    """One call of the model at a sample x, and how the next sample follows from it.

    The model's output is converted first, as by `convert_model_output` of diffusers' schedulers: `converted_sample`·x +
    `converted_output`·model(`model_scale`·x, `timestep`) joins the history. The base sample becomes `base` of the old
    one, or x where that is None; x then becomes `next` of the base sample, plus `noise` times fresh noise.
    `denoised`, the weights of x and of the output in the denoised sample that the model predicts (diffusers'
    `pred_original_sample`), is None where that is what joins the history.
    """

    timestep: float
    converted_sample: float
    converted_output: float
    next: Weights
    base: Weights | None = None
    noise: float = 0.0
    model_scale: float = 1.0
    denoised: tuple[float, float] | None = None


class Plan(NamedTuple):
    """The initial sample is noise times `init_noise_sigma`; then `steps` in order.

    Where a picture is given it is instead the picture's latents and the noise, weighted by `init_mixture`.
    """

    init_noise_sigma: float
    steps: tuple[DenoisingStep, ...]
    init_mixture: tuple[float, float]


class Progress(NamedTuple):
    """Denoising step number `step` of `steps` is done.

    `sample` is the sample after it, and `denoised` the one that the model predicted at the end of all steps; both are
    latents, float32 [n, channels, h, w].
    """

    step: int
    steps: int
    sample: np.ndarray
    denoised: np.ndarray


def denoise(
    model: Model, plan: Plan, noise: Iterator[np.ndarray], picture_latents: np.ndarray | None = None
) -> Iterator[Progress]:
    """Run `plan`, yielding after each call of the model; the last sample is the result. Closing it stops there.

    `noise` yields standard normal noise, float32 [n, channels, h, w]: the start, then what samplers add on the way.
    It starts from `picture_latents`, [1 or n, channels, h, w], noised (diffusers' `add_noise`), or from noise alone.
    """
    if picture_latents is None:
        sample = next(noise) * np.float32(plan.init_noise_sigma)
    else:
        sample = _weighted(plan.init_mixture[0], picture_latents, plan.init_mixture[1], next(noise))
    base, history = sample, list[np.ndarray]()
    memory = max(len(weights.history) for step in plan.steps for weights in (step.next, step.base) if weights)
    for number, step in enumerate(plan.steps, 1):
        output = model(sample * np.float32(step.model_scale), step.timestep)
        history.insert(0, _weighted(step.converted_sample, sample, step.converted_output, output))
        denoised = history[0]
        if step.denoised is not None:
            denoised = _weighted(step.denoised[0], sample, step.denoised[1], output)
        del history[memory:]
        base = sample if step.base is None else _mixed(step.base, base, history)
        sample = _mixed(step.next, base, history)
        if step.noise:
            sample += np.float32(step.noise) * next(noise)
        yield Progress(number, len(plan.steps), sample, denoised)


def _weighted(weight: float, sample: np.ndarray, other_weight: float, output: np.ndarray) -> np.ndarray:
    return np.float32(weight) * sample + np.float32(other_weight) * output


def _mixed(weights: Weights, base: np.ndarray, history: list[np.ndarray]) -> np.ndarray:
    total = np.float32(weights.base) * base
    for weight, converted in zip(weights.history, history, strict=False):
        if weight:
            total += np.float32(weight) * converted
    return total


def noise_sampler(seeds: Sequence[int], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Endless standard normal float32 [seeds, *shape].

    Row i depends on `seeds[i]` >= 0 and on how many came before it, on nothing else.
    """
    sources = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    while True:
        yield np.stack([source.standard_normal(shape, dtype=np.float32) for source in sources])
