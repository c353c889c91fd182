"""Diffusion samplers in numpy, equal to the schedulers of diffusers that have the same settings.

DDIM, Euler and DPM-Solver++ (2M) are linear in the sample, the predicted picture x0 and the x0 of the step
before. So a sampler is a table of coefficients, one row a step, and a single loop runs them all.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.schedule import Settings, karras, noise_ratios, signal_levels, times_of, timesteps

Model = Callable[[np.ndarray, float], np.ndarray]
"""(sample, timestep) -> output; sample and output are float32 [n, channels, h, w]."""


class Step(NamedTuple):
    """x0 = clean_sample·x + clean_output·model(x·model_scale, t), x ← keep·x + clean·x0 + before·x0₋₁."""

    timestep: float
    model_scale: float
    clean_sample: float
    clean_output: float
    keep: float
    clean: float
    before: float


class Plan(NamedTuple):
    """The initial sample is noise times `noise_scale`; then `steps` in order."""

    noise_scale: float
    steps: tuple[Step, ...]


def make_plan(sampler: str, config: Mapping[str, Any], num_inference_steps: int) -> Plan:
    """The plan of `sampler` ("ddim", "dpm++2m" or "euler") for `num_inference_steps` >= 1 steps.

    `config` is the content of scheduler_config.json. Raises ValueError.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    settings = Settings.read(config)
    if not 1 <= num_inference_steps <= settings.num_train_timesteps:
        raise ValueError(f"num_inference_steps must lie between 1 and {settings.num_train_timesteps}")
    return SAMPLERS[sampler](settings, num_inference_steps)


def denoise(model: Model, plan: Plan, noise: np.ndarray) -> Iterator[np.ndarray]:
    """Run `plan` from `noise`, float32 [n, channels, h, w], standard normal: the sample after each step."""
    sample = noise * np.float32(plan.noise_scale)
    before = np.zeros_like(sample)
    for step in plan.steps:
        output = model(sample * np.float32(step.model_scale), step.timestep)
        clean = np.float32(step.clean_sample) * sample + np.float32(step.clean_output) * output
        sample = np.float32(step.keep) * sample + np.float32(step.clean) * clean
        if step.before:
            sample += np.float32(step.before) * before
        before = clean
        yield sample


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 of `shape`, a function of `seed` >= 0 alone."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, dtype=np.float32)


def ddim(settings: Settings, count: int) -> Plan:
    """Denoising Diffusion Implicit Models with eta 0 (Song et al. 2021, arXiv 2010.02502, formula 12)."""
    if settings.clip_sample:
        raise ValueError("scheduler_config.json: clip_sample = True, meant for pixels, is not supported")
    levels = signal_levels(settings)
    final = 1.0 if settings.set_alpha_to_one else float(levels[0])
    steps = []
    for t in np.rint(timesteps(settings, settings.timestep_spacing or "leading", count, count)).astype(int):
        earlier = t - settings.num_train_timesteps // count
        alpha, sigma = _mixture(float(levels[t]))
        alpha_next, sigma_next = _mixture(float(levels[earlier]) if earlier >= 0 else final)
        keep = sigma_next / sigma
        weights = _clean_weights(settings.prediction_type, alpha, sigma)
        steps.append(Step(float(t), 1.0, *weights, keep, alpha_next - alpha * keep, 0.0))
    return Plan(1.0, tuple(steps))


def dpm_solver(settings: Settings, count: int) -> Plan:
    """DPM-Solver++ (2M), midpoint (Lu et al. 2022, arXiv 2211.01095, algorithm 2)."""
    ratios = noise_ratios(settings)
    if settings.use_karras_sigmas:
        chosen = karras(ratios[-1], ratios[0], count)
        times = times_of(chosen, ratios)
        # diffusers rounds for the other schedules and truncates for this one.
        times = np.floor(times) if settings.beta_schedule == "squaredcos_cap_v2" else np.rint(times)
    else:
        times = np.rint(timesteps(settings, settings.timestep_spacing or "linspace", count, count + 1))
        chosen = ratios[times.astype(int)]
    chosen = np.append(chosen, _last_ratio(settings, ratios))
    single_last = settings.euler_at_final or settings.final_sigmas_type == "zero"
    single_last = single_last or (settings.lower_order_final and count < 15)
    steps = []
    for i, (t, ratio, ratio_next) in enumerate(zip(times, chosen[:-1], chosen[1:], strict=True)):
        alpha, sigma = _mixture(1 / (ratio**2 + 1))
        alpha_next, sigma_next = _mixture(1 / (ratio_next**2 + 1))
        clean, trend = alpha_next * (1 - ratio_next / ratio), 0.0
        if i > 0 and settings.solver_order == 2 and not (single_last and i == count - 1):
            # How far x0 moves on from its last value: half the quotient of two steps in log signal-to-noise.
            trend = 0.5 * clean * math.log(ratio / ratio_next) / math.log(chosen[i - 1] / ratio)
        weights = _clean_weights(settings.prediction_type, alpha, sigma)
        steps.append(Step(float(t), 1.0, *weights, sigma_next / sigma, clean + trend, -trend))
    return Plan(1.0, tuple(steps))


def euler(settings: Settings, count: int) -> Plan:
    """Euler's method (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn)."""
    ratios = noise_ratios(settings)
    spacing = settings.timestep_spacing or "linspace"
    times = timesteps(settings, spacing, count, count)
    chosen = np.interp(times, np.arange(len(ratios)), ratios)
    if settings.use_karras_sigmas:
        chosen = karras(chosen[0], chosen[-1], count)
        times = times_of(chosen, ratios)
    chosen = np.append(chosen, _last_ratio(settings, ratios))
    steps = []
    for t, ratio, ratio_next in zip(times, chosen[:-1], chosen[1:], strict=True):
        alpha, sigma = _mixture(1 / (ratio**2 + 1))
        on_sample, on_output = _clean_weights(settings.prediction_type, alpha, sigma)
        keep = ratio_next / ratio
        # This sampler's sample is 1 / alpha times the others'.
        steps.append(Step(float(t), alpha, on_sample * alpha, on_output, keep, 1 - keep, 0.0))
    top = float(chosen.max())
    return Plan(math.hypot(top, 1) if spacing == "leading" else top, tuple(steps))


def _mixture(level: float) -> tuple[float, float]:
    """The weights of picture and noise in a sample of signal level `level`."""
    return math.sqrt(level), math.sqrt(1 - level)


def _clean_weights(prediction_type: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The weights of sample and output in the predicted picture."""
    if prediction_type == "epsilon":
        if alpha == 0:
            raise ValueError("scheduler_config.json: prediction_type = 'epsilon' cannot start from no signal")
        return 1 / alpha, -sigma / alpha
    return (alpha, -sigma) if prediction_type == "v_prediction" else (0.0, 1.0)


def _last_ratio(settings: Settings, ratios: np.ndarray) -> float:
    return float(ratios[0]) if settings.final_sigmas_type == "sigma_min" else 0.0


SAMPLERS: dict[str, Callable[[Settings, int], Plan]] = {"ddim": ddim, "dpm++2m": dpm_solver, "euler": euler}
