"""What the demo's VAE is trained by."""

import copy

import pytest
import torch
import torch.nn.functional as F

from export.demo.losses import Critic, edges, reconstruction
from export.demo.train_vae import Lesson, network


@pytest.fixture
def stripes() -> torch.Tensor:
    """float32 [4, 3, 48, 48] in −1 … 1, with edges that each row has elsewhere."""
    torch.manual_seed(0)
    at = torch.arange(48)
    rows = [torch.sign(torch.sin(at * 0.6 + phase)) for phase in torch.rand(4) * 6]
    return torch.stack([row.expand(3, 48, 48) for row in rows])


def blurred(picture: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)


def test_edges_are_missed_where_a_blur_took_them_and_not_where_all_is_brighter(stripes):
    assert reconstruction(stripes, stripes) == 0
    assert edges(stripes + 0.1, stripes) == pytest.approx(0, abs=1e-5)
    assert reconstruction(stripes + 0.1, stripes) > 0.1
    assert edges(blurred(stripes), stripes) > 0.1


def test_a_critic_learns_to_tell_blurred_from_true(stripes):
    critic = Critic()
    optimiser = torch.optim.AdamW(critic.parameters(), lr=2e-3)
    at_first = critic.mistakes(blurred(stripes), stripes).item()
    for _ in range(40):
        optimiser.zero_grad()
        critic.mistakes(blurred(stripes), stripes).backward()
        optimiser.step()
    assert critic.mistakes(blurred(stripes), stripes).item() < 0.5 * at_first
    opinion_of_blurred, unlike = critic.likeness(blurred(stripes), stripes)
    opinion_of_true, alike = critic.likeness(stripes, stripes)
    assert opinion_of_true < opinion_of_blurred
    assert alike < 0.001 * unlike


@pytest.mark.parametrize("decoder_only", [False, True])
def test_the_encoder_keeps_its_weights_when_only_the_decoder_learns(decoder_only):
    lesson = Lesson(network(), "cpu", decoder_only=decoder_only)
    before = copy.deepcopy(lesson.vae)
    lesson.optimiser.param_groups[0]["lr"] = 1e-3
    lesson.step(torch.rand(1, 3, 80, 80) * 2 - 1, judged=True)
    kept = {name: torch.equal(weight, before.get_parameter(name)) for name, weight in lesson.vae.named_parameters()}
    assert kept["encoder.conv_in.weight"] == decoder_only
    assert not kept["decoder.conv_out.weight"]
