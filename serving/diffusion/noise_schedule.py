"""Noise schedules: a checkpoint's scheduler_config.json, and the noise levels and timesteps that follow from it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SchedulerConfig:
    """The content of scheduler_config.json, with the defaults of diffusers' `DDIMScheduler` where it is silent.

    `timestep_spacing` and `set_alpha_to_one` None are each sampler's own defaults, as in diffusers.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: list[float] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str | None = None
    steps_offset: int = 0
    set_alpha_to_one: bool | None = None
    clip_sample: bool = True
    rescale_betas_zero_snr: bool = False
    use_karras_sigmas: bool = False
    solver_order: int = 2
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: str = "zero"
    solver_type: str = "bh2"
    skip_prk_steps: bool = False
    original_inference_steps: int = 50
    timestep_scaling: float = 10.0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "SchedulerConfig":
        """From the values of a checkpoint's scheduler_config.json; ValueError names one that is not supported."""
        known = {field.name for field in fields(cls)}
        for name, value in values.items():
            supported = name in known or name in INERT or name.startswith("_")
            if name in FIXED:
                supported = value in FIXED[name]
            elif name in CHOICES:
                supported = value in CHOICES[name]
            if not supported:
                raise ValueError(f"scheduler_config.json: {name} = {value!r} is not supported")
        return cls(**{name: value for name, value in values.items() if name in known})


CHOICES: dict[str, tuple] = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "linspace", "trailing"),
    "solver_order": (1, 2),
    "final_sigmas_type": ("zero", "sigma_min"),
    "solver_type": ("midpoint", "bh1", "bh2"),  # the first is DPM-Solver++'s, the others UniPC's
}
FIXED: dict[str, tuple] = {
    "thresholding": (False,),
    "algorithm_type": ("dpmsolver++",),
    "solver_p": (None,),
    "predict_x0": (True,),
    "disable_corrector": ([],),
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
INERT = ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "shift_terminal",
         "time_shift_type")  # fmt: skip
"""Settings that mean something only beside others, which FIXED rules out."""


def alphas_cumprod(config: SchedulerConfig) -> np.ndarray:
    """The share of the picture in the noisy sample's variance at each training timestep, float32 [timesteps].

    It is ᾱ of Ho et al. 2020 (arXiv 2006.11239), computed in float32 as diffusers does.
    """
    count = config.num_train_timesteps
    start, end = config.beta_start, config.beta_end
    if config.trained_betas is not None:
        betas = np.array(config.trained_betas, np.float32)
    elif config.beta_schedule == "linear":
        betas = np.linspace(start, end, count, dtype=np.float32)
    elif config.beta_schedule == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, count, dtype=np.float32) ** 2
    else:
        bars = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
        betas = np.array([min(1 - b / a, 0.999) for a, b in pairwise(bars)], np.float32)
    levels = _product(1 - betas)
    return _without_final_signal(levels) if config.rescale_betas_zero_snr else levels


def timesteps(config: SchedulerConfig, spacing: str, count: int, points: int) -> np.ndarray:
    """The first `count` of `points` timesteps from high to low, float64, not rounded in spacing "linspace".

    Spacings as in table 2 of Lin et al. 2023 (arXiv 2305.08891).
    """
    total = config.num_train_timesteps
    if spacing == "linspace":
        return np.linspace(0, total - 1, points)[::-1][:count]
    if spacing == "leading":
        return (np.arange(points) * (total // points))[::-1][:count] + float(config.steps_offset)
    return np.rint(np.arange(total, 0, -total / count)[:count]) - 1


def noise_ratios(config: SchedulerConfig) -> np.ndarray:
    """Noise over signal at each training timestep, float64 [timesteps]: sigma in Karras et al. and in diffusers."""
    levels = alphas_cumprod(config)
    if config.rescale_betas_zero_snr:
        levels[-1] = 2**-24  # diffusers' stand-in for no signal at all, which has no finite ratio
    levels = levels.astype(np.float64)
    return np.sqrt((1 - levels) / levels)


def karras_ratios(highest: float, lowest: float, count: int) -> np.ndarray:
    """`count` falling noise ratios (Karras et al. 2022, arXiv 2206.00364, formula 5, rho 7)."""
    ramp = np.linspace(0, 1, count)
    return (highest ** (1 / 7) + ramp * (lowest ** (1 / 7) - highest ** (1 / 7))) ** 7


def timesteps_of(ratios: np.ndarray, all_ratios: np.ndarray) -> np.ndarray:
    """The fractional timesteps at which `all_ratios`, rising, take the values `ratios`."""
    return np.interp(np.log(ratios), np.log(all_ratios), np.arange(len(all_ratios)))


def _product(factors: np.ndarray) -> np.ndarray:
    return np.cumprod(factors.astype(np.float64)).astype(np.float32)


def _without_final_signal(levels: np.ndarray) -> np.ndarray:
    """Zero terminal signal (Lin et al. 2023, algorithm 1)."""
    roots = np.sqrt(levels)
    first, last = roots[0], roots[-1]
    bars = ((roots - last) * (first / (first - last))) ** 2
    betas = 1 - np.concatenate([bars[:1], bars[1:] / bars[:-1]])
    return _product(1 - betas)


def mixture(level: float) -> tuple[float, float]:
    """The weights of picture and noise in a sample of signal level `level`, an entry of `alphas_cumprod`."""
    return math.sqrt(level), math.sqrt(1 - level)


def mixture_of(ratio: float) -> tuple[float, float]:
    """The weights of picture and noise in a sample whose noise ratio this is."""
    return mixture(1 / (float(ratio) ** 2 + 1))
