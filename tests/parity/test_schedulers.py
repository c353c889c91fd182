"""Our samplers against the schedulers of diffusers, from noise to the last sample, for each setting."""

import json
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

from serving.diffusion.denoise import denoise, noise_sampler
from serving.diffusion.samplers import make_plan

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "dpm++2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
"""The samplers that add no noise on the way; LCM, which does, has a test of its own."""
STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
}
ZERO_SIGNAL = {
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "prediction_type": "v_prediction",
}
TOLERANCE = 1e-4
"""For samples of about 1; the stand-in network lets some grow to 100, where float32 is that much coarser."""


def output(sample: np.ndarray, timestep: float) -> np.ndarray:
    """A smooth stand-in for the UNet: bounded, and a function of both arguments."""
    return np.tanh(sample * np.float32(0.7) + np.float32(timestep / 1000)).astype(np.float32)


def reference(
    sampler: str, config: dict, count: int, start: np.ndarray, picture: np.ndarray | None = None, strength: float = 1.0
) -> list[np.ndarray]:
    scheduler = SCHEDULERS[sampler].from_config(config)
    scheduler.set_timesteps(count)
    times, sample = scheduler.timesteps, torch.from_numpy(start) * scheduler.init_noise_sigma
    if picture is not None:
        pipeline = SimpleNamespace(scheduler=scheduler)
        times, _ = StableDiffusionInpaintPipeline.get_timesteps(pipeline, count, strength, "cpu")
        sample = scheduler.add_noise(torch.from_numpy(picture), torch.from_numpy(start), times[:1])
    samples = []
    for t in times:
        model_input = scheduler.scale_model_input(sample, t)
        prediction = torch.from_numpy(output(model_input.numpy(), float(t)))
        sample = scheduler.step(prediction, t, sample).prev_sample
        samples.append(sample.numpy())
    return samples


def check(sampler: str, config: dict, count: int, tolerance: float = TOLERANCE) -> None:
    start = next(noise_sampler([7, 8], (4, 16, 16)))
    samples = [step.sample for step in denoise(output, make_plan(sampler, config, count), iter([start]))]
    expected = reference(sampler, config, count, start)
    assert len(samples) == len(expected) == calls(sampler, count)
    for ours, theirs in zip(samples, expected, strict=True):
        assert np.abs(ours - theirs).max() <= tolerance * max(1, np.abs(theirs).max())


def calls(sampler: str, count: int) -> int:
    """PNDM calls the model twice for its first step, where there is a second."""
    return count + (sampler == "pndm" and count > 1)


def skip_where_diffusers_has_none(sampler: str, prediction_type: str) -> None:
    if sampler == "pndm" and prediction_type == "sample":
        pytest.skip("diffusers' PNDM takes noise and v only")


@pytest.mark.parametrize("count", [4, 20, 50])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_sampler_equals_diffusers(sampler, prediction_type, spacing, count):
    skip_where_diffusers_has_none(sampler, prediction_type)
    changes = {"prediction_type": prediction_type, "timestep_spacing": spacing}
    check(sampler, {**STABLE_DIFFUSION, **changes}, count)


@pytest.mark.parametrize("count", [4, 20, 50])
@pytest.mark.parametrize("change", [
    {"set_alpha_to_one": True, "steps_offset": 0},
    {"beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "leading"},
    {"beta_schedule": "linear", "trained_betas": list(np.linspace(0.001, 0.015, 1000))},
    ZERO_SIGNAL,
], ids=lambda change: "-".join(change))  # fmt: skip
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_schedule_equals_diffusers(sampler, change, count):
    if sampler == "pndm" and change is ZERO_SIGNAL:
        pytest.skip("diffusers' PNDM has no such setting")
    # diffusers' Euler starts from samples of 4096 there and subtracts its way down in float32.
    tolerance = 5e-4 if sampler == "euler" and change is ZERO_SIGNAL else TOLERANCE
    check(sampler, {**STABLE_DIFFUSION, **change}, count, tolerance)


@pytest.mark.parametrize("count", [1, 2, 4, 20, 50])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("change", [
    {"use_karras_sigmas": True},
    {"final_sigmas_type": "sigma_min"},
    {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    {"euler_at_final": True},
    {"solver_order": 1},
], ids=lambda change: "-".join(change))  # fmt: skip
def test_dpm_solver_setting_equals_diffusers(change, prediction_type, count):
    check("dpm++2m", {**STABLE_DIFFUSION, "prediction_type": prediction_type, **change}, count)


@pytest.mark.parametrize("count", [1, 4, 20, 50])
@pytest.mark.parametrize("change", [{"use_karras_sigmas": True}, {"final_sigmas_type": "sigma_min"}],
                         ids=lambda change: "-".join(change))  # fmt: skip
def test_euler_setting_equals_diffusers(change, count):
    check("euler", {**STABLE_DIFFUSION, **change}, count)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20, 50])
@pytest.mark.parametrize("change", [
    {"use_karras_sigmas": True},
    {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},  # with zero diffusers' last sample is NaN
    {"final_sigmas_type": "sigma_min"},
    {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    {"solver_order": 1},
    {"prediction_type": "v_prediction", "timestep_spacing": "trailing"},
], ids=lambda change: "-".join(change))  # fmt: skip
def test_unipc_setting_equals_diffusers(change, count):
    check("unipc", {**STABLE_DIFFUSION, **change}, count)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_pndm_of_few_steps_equals_diffusers(prediction_type, count):
    check("pndm", {**STABLE_DIFFUSION, "prediction_type": prediction_type}, count)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 20, 50])
@pytest.mark.parametrize("change", [{}, {"prediction_type": "v_prediction"}, {"original_inference_steps": 100},
                                    {"timestep_scaling": 1.0}], ids=lambda change: "-".join(change) or "-")  # fmt: skip
def test_lcm_equals_diffusers(change, count, monkeypatch):
    config = {**STABLE_DIFFUSION, **change}
    ours, theirs = noise_sampler([7, 8], (4, 16, 16)), noise_sampler([7, 8], (4, 16, 16))
    samples = [step.sample for step in denoise(output, make_plan("lcm", config, count), ours)]
    start = next(theirs)
    drawn = lambda *_, **__: torch.from_numpy(next(theirs))  # noqa: E731
    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", drawn)
    monkeypatch.setitem(SCHEDULERS, "lcm", diffusers.LCMScheduler)
    expected = reference("lcm", config, count, start)
    assert len(samples) == len(expected) == count
    for mine, wanted in zip(samples, expected, strict=True):
        assert np.abs(mine - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("strength", [0.3, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("count", [4, 11, 30])
@pytest.mark.parametrize("change", [
    {},
    {"prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    {"timestep_spacing": "linspace"},
], ids=lambda change: "-".join(change) or "-")  # fmt: skip
@pytest.mark.parametrize("sampler", [*SCHEDULERS, "lcm"])
def test_a_loop_from_a_picture_equals_diffusers(sampler, change, count, strength, monkeypatch):
    config = {**STABLE_DIFFUSION, **change}
    picture = next(noise_sampler([1, 2], (4, 16, 16)))
    ours, theirs = noise_sampler([7, 8], (4, 16, 16)), noise_sampler([7, 8], (4, 16, 16))
    plan = make_plan(sampler, config, count, strength)
    samples = [step.sample for step in denoise(output, plan, ours, picture)]
    start = next(theirs)
    drawn = lambda *_, **__: torch.from_numpy(next(theirs))  # noqa: E731
    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", drawn)
    monkeypatch.setitem(SCHEDULERS, "lcm", diffusers.LCMScheduler)
    expected = reference(sampler, config, count, start, picture, strength)
    assert len(samples) == len(expected) == int(count * strength) + (sampler == "pndm")
    for mine, wanted in zip(samples, expected, strict=True):
        assert np.abs(mine - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("count", range(1, 101, 9))
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_any_number_of_steps_is_a_plan_of_that_length(sampler, count):
    for spacing in ("leading", "linspace", "trailing"):
        steps = make_plan(sampler, {**STABLE_DIFFUSION, "timestep_spacing": spacing}, count).steps
        times = [step.timestep for step in steps]
        assert len(steps) == calls(sampler, count)
        assert times == sorted(times, reverse=True)
        assert times[-1] >= 0
        assert times[0] <= 999


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler",
                                       "EulerDiscreteScheduler", "UniPCMultistepScheduler"])  # fmt: skip
def test_a_config_saved_by_diffusers_is_understood(scheduler, tmp_path):
    getattr(diffusers, scheduler)(beta_schedule="scaled_linear").save_config(tmp_path)
    config = json.loads((tmp_path / "scheduler_config.json").read_text())
    config |= {"clip_sample": False, "skip_prk_steps": True}
    for sampler in SCHEDULERS:
        check(sampler, config, 10)
