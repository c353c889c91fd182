"""Diffusion samplers as plans, equal to the schedulers of diffusers that have the same config.

Throughout, `alpha` and `sigma` are the weights of picture and noise in a sample (diffusers' alpha_t and sigma_t), and
`ratio` is sigma / alpha (an entry of diffusers' `sigmas`). A name that ends in `_next` is of the step's end. Of `count`
denoising steps the `first` are left out: multistep samplers then start anew with what is left.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.diffusion.denoise import DenoisingStep, Plan, Weights
from serving.diffusion.noise_schedule import (
    SchedulerConfig,
    alphas_cumprod,
    karras_ratios,
    mixture,
    mixture_of,
    noise_ratios,
    timesteps,
    timesteps_of,
)
from serving.diffusion.unipc import unipc_weights


def make_plan(sampler: str, scheduler: Mapping[str, Any], num_inference_steps: int, strength: float = 1.0) -> Plan:
    """The plan of `sampler`, a key of SAMPLERS, for the last `strength` of `num_inference_steps` >= 1 denoising steps.

    `scheduler` is the content of scheduler_config.json. As in diffusers, whose pipelines' `get_timesteps` this follows,
    steps are left out from the front and rounded down. Raises ValueError.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    config = SchedulerConfig.read(scheduler)
    if not 1 <= num_inference_steps <= config.num_train_timesteps:
        raise ValueError(f"num_inference_steps must lie between 1 and {config.num_train_timesteps}")
    left = min(int(num_inference_steps * strength), num_inference_steps)
    if left < 1:
        raise ValueError(f"strength {strength:g} of {num_inference_steps} denoising steps leaves none")
    return SAMPLERS[sampler](config, num_inference_steps, num_inference_steps - left)


def ddim(config: SchedulerConfig, count: int, first: int) -> Plan:
    """Denoising Diffusion Implicit Models with eta 0 (Song et al. 2021, arXiv 2010.02502, formula 12)."""
    if config.clip_sample:
        raise ValueError("scheduler_config.json: clip_sample = True, meant for pixels, is not supported")
    levels = alphas_cumprod(config)
    final = float(levels[0]) if config.set_alpha_to_one is False else 1.0
    steps = []
    times = np.rint(timesteps(config, config.timestep_spacing or "leading", count, count)).astype(int)[first:]
    for t in times:
        earlier = t - config.num_train_timesteps // count
        alpha, sigma = mixture(float(levels[t]))
        alpha_next, sigma_next = mixture(float(levels[earlier]) if earlier >= 0 else final)
        keep = sigma_next / sigma
        weights = _denoised_weights(config.prediction_type, alpha, sigma)
        steps.append(DenoisingStep(float(t), *weights, Weights(keep, (alpha_next - alpha * keep,))))
    return Plan(1.0, tuple(steps), mixture(float(levels[times[0]])))


def pndm(config: SchedulerConfig, count: int, first: int) -> Plan:
    """Pseudo numerical methods, linear multistep (Liu et al. 2022, arXiv 2202.09778, formulas 9 and 12).

    The second call of the model is at the second step's time for an improved first step: count + 1 calls in all. With
    steps left out, the first two calls of those that remain are taken for these, as in diffusers.
    """
    if not config.skip_prk_steps:
        raise ValueError("scheduler_config.json: skip_prk_steps = False is not supported")
    if config.prediction_type == "sample":
        raise ValueError("scheduler_config.json: prediction_type = 'sample' is not supported by PNDM")
    levels, stride = alphas_cumprod(config), config.num_train_timesteps // count
    final = 1.0 if config.set_alpha_to_one else float(levels[0])
    times = np.rint(timesteps(config, config.timestep_spacing or "leading", count, count)).astype(int)
    steps = []
    times = np.insert(times, 1, times[1:2])[first:]
    for i, t in enumerate(times):
        start, end = (t + stride, t) if i == 1 else (t, t - stride)
        level = float(levels[min(start, len(levels) - 1)])
        level_next = float(levels[end]) if end >= 0 else final
        alpha, sigma = mixture(level)
        spread = level * math.sqrt(1 - level_next) + math.sqrt(level * (1 - level) * level_next)
        on_noise, keep = (level - level_next) / spread, math.sqrt(level_next / level)
        if config.prediction_type == "v_prediction":
            keep, on_noise = keep + on_noise * sigma, on_noise * alpha
        history = tuple(on_noise * weight for weight in PLMS[min(i, len(PLMS) - 1)])
        denoised = _denoised_weights(config.prediction_type, *mixture(float(levels[t])))
        base = Weights(1.0) if i == 1 else None
        steps.append(DenoisingStep(float(t), 0.0, 1.0, Weights(keep, history), base, denoised=denoised))
    return Plan(1.0, tuple(steps), mixture(float(levels[times[0]])))


PLMS = (
    (1.0,),
    (1 / 2, 1 / 2),
    (3 / 2, 0.0, -1 / 2),
    (23 / 12, -16 / 12, 0.0, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, 0.0, -9 / 24),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Adams-Bashforth weights of the first calls and of all later ones; the second call's output is used only there."""


def dpm_solver(config: SchedulerConfig, count: int, first: int) -> Plan:
    """DPM-Solver++ (2M), midpoint (Lu et al. 2022, arXiv 2211.01095, algorithm 2)."""
    # diffusers rounds for the other schedules and truncates for this one.
    truncate = config.beta_schedule == "squaredcos_cap_v2"
    times, chosen = _solver_times(config, count, np.floor if truncate else np.rint)
    single_last = config.euler_at_final or config.final_sigmas_type == "zero"
    single_last = single_last or (config.lower_order_final and count < 15)
    steps = []
    for i in range(first, count):
        ratio, ratio_next = chosen[i], chosen[i + 1]
        alpha, sigma = mixture_of(ratio)
        alpha_next, sigma_next = mixture_of(ratio_next)
        on_denoised, trend = alpha_next * (1 - ratio_next / ratio), 0.0
        if i > first and config.solver_order == 2 and not (single_last and i == count - 1):
            # How far x0 moves on from its last value: half the quotient of two steps in log signal-to-noise.
            trend = 0.5 * on_denoised * math.log(ratio / ratio_next) / math.log(chosen[i - 1] / ratio)
        weights = _denoised_weights(config.prediction_type, alpha, sigma)
        onward = Weights(sigma_next / sigma, (on_denoised + trend, -trend))
        steps.append(DenoisingStep(float(times[i]), *weights, onward))
    return Plan(1.0, tuple(steps), mixture_of(chosen[first]))


def unipc(config: SchedulerConfig, count: int, first: int) -> Plan:
    """UniPC, B(h) version, in the denoised sample (Zhao et al. 2023, arXiv 2302.04867, algorithms 1 and 2).

    Each call of the model first corrects the sample that it was made at, then predicts the next one.
    """
    times, chosen = _solver_times(config, count, np.rint)
    steps, order = [], 0
    for i in range(first, count):
        corrector = unipc_weights(config, chosen[: i + 1], order, corrects=True) if i > first else None
        left = count - i if config.lower_order_final else config.solver_order
        order = min(config.solver_order, left, i - first + 1)
        weights = _denoised_weights(config.prediction_type, *mixture_of(chosen[i]))
        predictor = unipc_weights(config, chosen[: i + 2], order, corrects=False)
        steps.append(DenoisingStep(float(times[i]), *weights, predictor, corrector))
    return Plan(1.0, tuple(steps), mixture_of(chosen[first]))


def lcm(config: SchedulerConfig, count: int, first: int) -> Plan:
    """Multistep latent consistency sampling (Luo et al. 2023, arXiv 2310.04378, algorithm 3)."""
    if config.clip_sample:
        raise ValueError("scheduler_config.json: clip_sample = True, meant for pixels, is not supported")
    original = config.original_inference_steps
    if count > original:
        raise ValueError(f"num_inference_steps must lie between 1 and {original} with this checkpoint's scheduler")
    learnt = (np.arange(original, 0, -1) * (config.num_train_timesteps // original)) - 1
    times = learnt[np.floor(np.linspace(0, original, count, endpoint=False)).astype(int)]
    levels, steps = alphas_cumprod(config), []
    for i, t in enumerate(times[first:], first):
        on_sample, on_output = _denoised_weights(config.prediction_type, *mixture(float(levels[t])))
        scaled = float(t) * config.timestep_scaling
        skip, out = 0.25 / (scaled**2 + 0.25), scaled / math.sqrt(scaled**2 + 0.25)
        alpha_next, sigma_next = mixture(float(levels[times[i + 1]])) if i + 1 < count else (1.0, 0.0)
        weights = Weights(alpha_next * skip, (alpha_next * out,))
        steps.append(DenoisingStep(float(t), on_sample, on_output, weights, noise=sigma_next))
    return Plan(1.0, tuple(steps), mixture(float(levels[times[first]])))


def _solver_times(config: SchedulerConfig, count: int, rounded: Callable[[np.ndarray], np.ndarray]) -> tuple:
    """Timesteps [count] and noise ratios [count + 1] of the solvers in log signal-to-noise."""
    ratios = noise_ratios(config)
    if config.use_karras_sigmas:
        chosen = karras_ratios(ratios[-1], ratios[0], count)
        times = rounded(timesteps_of(chosen, ratios))
    else:
        times = np.rint(timesteps(config, config.timestep_spacing or "linspace", count, count + 1))
        chosen = ratios[times.astype(int)]
    return times, np.append(chosen, _last_ratio(config, ratios))


def euler(config: SchedulerConfig, count: int, first: int) -> Plan:
    """Euler's method (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn)."""
    ratios = noise_ratios(config)
    spacing = config.timestep_spacing or "linspace"
    times = timesteps(config, spacing, count, count)
    chosen = np.interp(times, np.arange(len(ratios)), ratios)
    if config.use_karras_sigmas:
        chosen = karras_ratios(chosen[0], chosen[-1], count)
        times = timesteps_of(chosen, ratios)
    chosen = np.append(chosen, _last_ratio(config, ratios))
    steps = []
    for t, ratio, ratio_next in zip(times[first:], chosen[first:-1], chosen[first + 1 :], strict=True):
        alpha, sigma = mixture_of(ratio)
        on_sample, on_output = _denoised_weights(config.prediction_type, alpha, sigma)
        keep = ratio_next / ratio
        # This sampler's sample is 1 / alpha times the others'.
        weights = Weights(keep, (1 - keep,))
        steps.append(DenoisingStep(float(t), on_sample * alpha, on_output, weights, model_scale=alpha))
    top = float(chosen.max())
    return Plan(math.hypot(top, 1) if spacing == "leading" else top, tuple(steps), (1.0, float(chosen[first])))


def _denoised_weights(prediction_type: str, alpha: float, sigma: float) -> tuple[float, float]:
    """The weights of sample and model output in the denoised sample, diffusers' `pred_original_sample`."""
    if prediction_type == "epsilon":
        if alpha == 0:
            raise ValueError("scheduler_config.json: prediction_type = 'epsilon' cannot start from no signal")
        return 1 / alpha, -sigma / alpha
    return (alpha, -sigma) if prediction_type == "v_prediction" else (0.0, 1.0)


def _last_ratio(config: SchedulerConfig, ratios: np.ndarray) -> float:
    return float(ratios[0]) if config.final_sigmas_type == "sigma_min" else 0.0


SAMPLERS: dict[str, Callable[[SchedulerConfig, int, int], Plan]] = {
    "ddim": ddim,
    "pndm": pndm,
    "euler": euler,
    "dpm++2m": dpm_solver,
    "unipc": unipc,
    "lcm": lcm,
}
