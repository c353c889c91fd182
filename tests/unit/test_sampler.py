"""The samplers' own promises: what they refuse, and noise that depends on the seed alone."""

import numpy as np
import pytest

from serving.diffusion.denoise import denoise, noise_sampler
from serving.diffusion.noise_schedule import SchedulerConfig, alphas_cumprod
from serving.diffusion.samplers import SAMPLERS, make_plan

CONFIG = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "skip_prk_steps": True,
    "_class_name": "DDIMScheduler",
}


@pytest.mark.parametrize(("name", "value"), [
    ("thresholding", True),
    ("clip_sample", True),
    ("algorithm_type", "sde-dpmsolver++"),
    ("prediction_type", "flow_prediction"),
    ("timestep_spacing", "even"),
    ("beta_schedule", "sigmoid"),
    ("use_beta_sigmas", True),
    ("solver_order", 3),
    ("disable_corrector", [0]),
    ("shift", 3.0),
])  # fmt: skip
def test_an_unsupported_setting_is_an_error_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        make_plan("ddim", {**CONFIG, name: value}, 10)


def test_an_unknown_sampler_is_an_error_by_name():
    with pytest.raises(ValueError, match="heun"):
        make_plan("heun", CONFIG, 10)


@pytest.mark.parametrize(("count", "strength"), [(4, 0.2), (1, 0.99), (10, 0.0)])
def test_a_strength_that_leaves_no_step_is_an_error(count, strength):
    with pytest.raises(ValueError, match="leaves none"):
        make_plan("ddim", CONFIG, count, strength)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_loop_from_a_picture_starts_with_as_much_noise_as_its_steps_take_away(sampler):
    if sampler == "pndm":
        pytest.skip("diffusers' own is a step off there, and so is ours")
    picture, noise = next(noise_sampler([1], (4, 8, 8))), next(noise_sampler([2], (4, 8, 8)))
    config = {**CONFIG, "prediction_type": "epsilon", "set_alpha_to_one": True}
    plan = make_plan(sampler, config, 20, 0.5)
    steps = list(denoise(lambda sample, timestep: noise, plan, noise_sampler([2], (4, 8, 8)), picture))
    assert len(steps) == 10
    np.testing.assert_allclose(steps[0].denoised, picture, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1001])
def test_a_number_of_steps_outside_training_is_an_error(count):
    with pytest.raises(ValueError, match="between 1 and 1000"):
        make_plan("ddim", CONFIG, count)


def test_epsilon_from_no_signal_is_an_error():
    config = {**CONFIG, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with pytest.raises(ValueError, match="epsilon"):
        make_plan("ddim", config, 10)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_model_gives_its_picture(sampler):
    if sampler == "pndm":
        pytest.skip("takes no model that says the picture itself")
    picture = next(noise_sampler([1], (4, 8, 8)))
    plan = make_plan(sampler, {**CONFIG, "prediction_type": "sample", "set_alpha_to_one": True}, 12)
    steps = list(denoise(lambda sample, timestep: picture, plan, noise_sampler([2], picture.shape[1:])))
    assert len(steps) == 12
    np.testing.assert_allclose(steps[-1].sample, picture, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_step_tells_the_picture_that_the_model_foresees(sampler, prediction_type):
    picture = next(noise_sampler([1], (4, 8, 8)))
    config = {**CONFIG, "prediction_type": prediction_type, "original_inference_steps": 50}
    levels = alphas_cumprod(SchedulerConfig.read(config))

    def perfect(sample, timestep):
        level = np.interp(timestep, np.arange(len(levels)), levels)
        alpha, sigma = np.sqrt(level), np.sqrt(1 - level)
        noise = (sample - alpha * picture) / sigma
        return noise if prediction_type == "epsilon" else alpha * noise - sigma * picture

    plan = make_plan(sampler, config, 12)
    for step in denoise(perfect, plan, noise_sampler([2], picture.shape[1:])):
        np.testing.assert_allclose(step.denoised, picture, atol=0.02)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_do_not_touch_each_other(sampler):
    plan = make_plan(sampler, CONFIG, 8)
    together = list(denoise(lambda sample, timestep: np.tanh(sample), plan, noise_sampler([3, 4], (4, 8, 8))))[
        -1
    ].sample
    for i, seed in enumerate((3, 4)):
        alone = list(denoise(lambda sample, timestep: np.tanh(sample), plan, noise_sampler([seed], (4, 8, 8))))[
            -1
        ].sample
        np.testing.assert_array_equal(together[i : i + 1], alone)


def test_the_loop_can_be_left_after_any_step():
    calls = []
    steps = denoise(lambda sample, timestep: calls.append(timestep) or sample, make_plan("ddim", CONFIG, 9),
                    noise_sampler([4], (4, 8, 8)))  # fmt: skip
    next(steps)
    next(steps)
    steps.close()
    assert len(calls) == 2


def test_noise_depends_on_the_seed_alone():
    one, other = noise_sampler([5, 6], (4, 16, 16)), noise_sampler([6, 5], (4, 16, 16))
    for _ in range(3):
        np.testing.assert_array_equal(next(one), next(other)[::-1])
    first, second = next(one), next(one)
    assert np.abs(first - second).max() > 1
    assert np.abs(first[0] - first[1]).max() > 1
    (values,) = next(noise_sampler([2**63 - 1], (4, 64, 64)))
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
