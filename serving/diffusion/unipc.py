"""The weights of UniPC's steps (Zhao et al. 2023, arXiv 2302.04867), named as in `serving.diffusion.samplers`."""

import math

import numpy as np

from serving.diffusion.denoise import Weights
from serving.diffusion.noise_schedule import SchedulerConfig, mixture_of


def unipc_weights(config: SchedulerConfig, ratios: np.ndarray, order: int, *, corrects: bool) -> Weights:
    """The weights of the step to the last of `ratios` from the one before.

    The corrector has the model output at its end, too.
    """
    ratio, ratio_next = float(ratios[-2]), float(ratios[-1])
    sigma, (alpha_next, sigma_next) = mixture_of(ratio)[1], mixture_of(ratio_next)
    h = math.log(ratio / ratio_next) if ratio_next else math.inf
    phi = math.expm1(-h)
    scale = -h if config.solver_type == "bh1" else phi
    # Where the outputs of the history were made, as a share of the step; 1 is the step's own end.
    places = [-math.log(float(ratios[-2 - i]) / ratio) / h for i in range(1, order)] + [1.0]
    if order == (1 if corrects else 2):
        rhos = np.array([0.5])
    else:
        term, factorial, moments = phi / -h - 1, 1, []
        for i in range(1, order + 1):
            moments.append(term * factorial / scale)
            factorial *= i + 1
            term = term / -h - 1 / factorial
        size = order if corrects else order - 1
        powers = np.array([[place**i for place in places[:size]] for i in range(size)])
        rhos = np.linalg.solve(powers, np.array(moments[:size])) if size else np.array([])
    slopes = [-alpha_next * scale * rho / place for rho, place in zip(rhos, places, strict=False)]
    if corrects:  # its newest output is that at the end; the start's comes next
        *older, end = slopes
        history = (end, -alpha_next * phi - sum(slopes), *older)
    else:
        history = (-alpha_next * phi - sum(slopes), *slopes)
    return Weights(sigma_next / sigma, tuple(map(float, history)))
