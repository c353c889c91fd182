"""Diffusion samplers in numpy, equal to the schedulers of diffusers that have the same settings.

DDIM, Euler and DPM-Solver++ (2M) are linear in the sample, the predicted picture x0 and the x0 of the step
before. So a sampler is a table of coefficients, one row a step, and a single loop runs them all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

Model = Callable[[np.ndarray, float], np.ndarray]
"""(sample, timestep) -> output; sample and output are float32 [n, channels, h, w]."""


class Step(NamedTuple):
    """x0 = clean_sample·x + clean_output·model(x·model_scale, timestep); x ← keep·x + clean·x0 + before·x0₋₁."""

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


@dataclass(frozen=True)
class Settings:
    """What scheduler_config.json says, with the defaults of diffusers' `DDIMScheduler` where it is silent.

    `timestep_spacing` None is each sampler's own default, as in diffusers.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[float] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str | None = None
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    rescale_betas_zero_snr: bool = False
    use_karras_sigmas: bool = False
    solver_order: int = 2
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: str = "zero"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Settings":
        """Settings from a checkpoint's scheduler_config.json; ValueError names one that is not supported."""
        known = {field.name for field in fields(cls)}
        for name, value in config.items():
            supported = name in known or name in INERT or name.startswith("_")
            if name in FIXED:
                supported = value in FIXED[name]
            elif name in CHOICES:
                supported = value in CHOICES[name]
            if not supported:
                raise ValueError(f"scheduler_config.json: {name} = {value!r} is not supported")
        return cls(**{name: value for name, value in config.items() if name in known})


CHOICES: dict[str, tuple] = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "linspace", "trailing"),
    "solver_order": (1, 2),
    "final_sigmas_type": ("zero", "sigma_min"),
}
FIXED: dict[str, tuple] = {
    "clip_sample": (False,),
    "thresholding": (False,),
    "algorithm_type": ("dpmsolver++",),
    "solver_type": ("midpoint",),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False,),
    "lambda_min_clipped": (-np.inf, None),
    "variance_type": (None, "fixed_small"),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "sigma_min": (None,),
    "sigma_max": (None,),
}
INERT = ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value", "skip_prk_steps", "flow_shift",
         "time_shift_type")  # fmt: skip
"""Settings that mean something only beside others, which FIXED rules out."""


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
    signals = signal_levels(settings)
    final = 1.0 if settings.set_alpha_to_one else float(signals[0])
    total = settings.num_train_timesteps
    steps = []
    for t in timesteps(settings, settings.timestep_spacing or "leading", count):
        earlier = int(t) - total // count
        alpha, sigma = _mixture(float(signals[int(t)]))
        alpha_next, sigma_next = _mixture(float(signals[earlier]) if earlier >= 0 else final)
        keep = sigma_next / sigma
        weights = _x0_weights(settings, alpha, sigma)
        steps.append(Step(float(t), 1.0, *weights, keep, alpha_next - alpha * keep, 0.0))
    return Plan(1.0, tuple(steps))


def dpm_solver(settings: Settings, count: int) -> Plan:
    """DPM-Solver++ (2M), midpoint (Lu et al. 2022, arXiv 2211.01095, algorithm 2)."""
    signals = _off_zero(settings, signal_levels(settings))
    ratios = np.sqrt((1 - signals.astype(np.float64)) / signals)
    if settings.use_karras_sigmas:
        sigmas = _karras(ratios[-1], ratios[0], count)
        times = _times_of(sigmas, ratios)
        times = times if settings.beta_schedule == "squaredcos_cap_v2" else np.rint(times)
        times = times.astype(np.int64)
    else:
        spacing = settings.timestep_spacing or "linspace"
        times = np.rint(timesteps(settings, spacing, count, endpoint_excluded=True)).astype(np.int64)
        sigmas = ratios[times]
    sigmas = np.append(sigmas, ratios[0] if settings.final_sigmas_type == "sigma_min" else 0.0)
    steps = []
    for i, t in enumerate(times):
        alpha, sigma = _of_ratio(sigmas[i])
        alpha_next, sigma_next = _of_ratio(sigmas[i + 1])
        clean, before = alpha_next * (1 - sigmas[i + 1] / sigmas[i]), 0.0
        if 0 < i and settings.solver_order == 2 and not (i == count - 1 and _first_order_last(settings, count)):
            # h / h₋₁ of the log signal-to-noise ratio: how far the trend of x0 goes on.
            trend = np.log(sigmas[i] / sigmas[i + 1]) / np.log(sigmas[i - 1] / sigmas[i])
            before = -0.5 * clean * trend
        weights = _x0_weights(settings, alpha, sigma)
        steps.append(Step(float(t), 1.0, *weights, sigma_next / sigma, clean - before, before))
    return Plan(1.0, tuple(steps))


def euler(settings: Settings, count: int) -> Plan:
    """Euler's method (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn)."""
    signals = _off_zero(settings, signal_levels(settings))
    ratios = np.sqrt((1 - signals.astype(np.float64)) / signals)
    spacing = settings.timestep_spacing or "linspace"
    times = timesteps(settings, spacing, count, fractions=True)
    sigmas = np.interp(times, np.arange(len(ratios)), ratios)
    if settings.use_karras_sigmas:
        sigmas = _karras(sigmas[0], sigmas[-1], count)
        times = _times_of(sigmas, ratios)
    sigmas = np.append(sigmas, ratios[0] if settings.final_sigmas_type == "sigma_min" else 0.0)
    steps = []
    for t, ratio, ratio_next in zip(times, sigmas, sigmas[1:]):
        alpha, sigma = _of_ratio(ratio)
        on_sample, on_output = _x0_weights(settings, alpha, sigma)
        keep = ratio_next / ratio
        # Its sample is 1 / alpha times the one that the other samplers carry.
        steps.append(Step(float(t), alpha, on_sample * alpha, on_output, keep, 1 - keep, 0.0))
    top = sigmas.max()
    return Plan(float(top if spacing != "leading" else np.hypot(top, 1)), tuple(steps))


SAMPLERS: dict[str, Callable[[Settings, int], Plan]] = {"ddim": ddim, "dpm++2m": dpm_solver, "euler": euler}
