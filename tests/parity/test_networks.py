"""Every network of a release: the exported file against the checkpoint's own class, by way of the served names."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPSegForImageSegmentation, CLIPTextModel

from tests.checkpoints import CONTEXT_LENGTH


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


def run(exported, network: str, **inputs: torch.Tensor) -> np.ndarray:
    file = exported.repository / network / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return output


def agree(found: np.ndarray, wanted: torch.Tensor) -> None:
    assert found.shape == tuple(wanted.shape)
    assert np.abs(found - wanted.numpy()).max() <= 1e-4 * wanted.abs().max()


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def load(model_class, folder: Path):
    return model_class.from_pretrained(folder, torch_dtype=torch.float32).eval()


@torch.no_grad()
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (5, 24, 16)])
def test_unet_rows_have_their_own_timesteps(exported, batch, height, width):
    unet = load(UNet2DConditionModel, exported.checkpoints / "inpaint" / "unet")
    sample, states = (
        normal(batch, 9, height, width),
        normal(batch, CONTEXT_LENGTH, unet.config.cross_attention_dim),
    )
    timestep = torch.linspace(999, 1, batch)
    found = run(exported, "unet", sample=sample, timestep=timestep, encoder_hidden_states=states)
    alone = [unet(sample[i : i + 1], timestep[i], states[i : i + 1]).sample for i in range(batch)]
    agree(found, torch.cat(alone))


@torch.no_grad()
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 128, 128), (3, 64, 96)])
def test_vae_encoder_gives_mean_and_log_variance(exported, batch, height, width):
    vae = load(AutoencoderKL, exported.checkpoints / "inpaint" / "vae")
    sample = normal(batch, 3, height, width).clamp(-1, 1)
    posterior = vae.encode(sample).latent_dist
    found = run(exported, "vae_encoder", sample=sample)
    agree(found[:, :4], posterior.mean)
    assert np.abs(np.clip(found[:, 4:], -30, 20) - posterior.logvar.numpy()).max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 8, 20)])
def test_vae_decoder_equals_diffusers(exported, batch, height, width):
    vae = load(AutoencoderKL, exported.checkpoints / "inpaint" / "vae")
    latents = normal(batch, 4, height, width)
    agree(run(exported, "vae_decoder", latent_sample=latents), vae.decode(latents).sample)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 4])
def test_text_encoder_equals_transformers(exported, batch):
    model = load(CLIPTextModel, exported.checkpoints / "inpaint" / "text_encoder")
    ids = torch.randint(0, model.config.vocab_size, (batch, CONTEXT_LENGTH))
    agree(run(exported, "text_encoder", input_ids=ids), model(ids).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 4])
def test_segmenter_equals_transformers(exported, batch):
    model = load(CLIPSegForImageSegmentation, exported.checkpoints / "mask")
    pixels = normal(batch, 3, 256, 256)
    ids = torch.full((batch, CONTEXT_LENGTH), model.config.text_config.eos_token_id)
    mask = torch.zeros_like(ids)
    for row in range(batch):
        ids[row, : row + 3] = torch.randint(0, 200, (row + 3,))
        mask[row, : row + 4] = 1
    wanted = model(pixel_values=pixels, input_ids=ids, attention_mask=mask).logits.reshape(batch, 256, 256)
    agree(run(exported, "segmenter", pixel_values=pixels, input_ids=ids, attention_mask=mask), wanted)


@pytest.mark.parametrize("network", ["unet", "vae_encoder", "vae_decoder"])
def test_every_group_norm_is_scaled_a_row_a_channel(exported, network):
    """OpenVINO is slow on [channels, 1, 1] over [channels, height, width]."""
    graph = onnx.load(exported.repository / network / "1" / "model.onnx").graph
    users = {name: node for node in graph.node for name in node.input}
    shapes = {constant.name: list(constant.dims) for constant in graph.initializer}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    assert norms
    for norm in norms:
        scale = users[users[norm.output[0]].output[0]]
        assert scale.op_type == "Mul"
        assert [shapes[name][1:] for name in scale.input if name in shapes] == [[1]]


@pytest.mark.parametrize("network", ["unet", "vae_encoder", "vae_decoder", "text_encoder", "segmenter"])
def test_axes_open_in_the_configuration_are_open_in_the_file(exported, network):
    """Triton's C++ backend loads no network with a number where config.pbtxt says -1."""
    graph = onnx.load(exported.repository / network / "1" / "model.onnx", load_external_data=False).graph
    known = {3, 4, 8, 9}  # channels
    for tensor in (*graph.input, *graph.output):
        sizes = [axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        assert sizes[0] == 0
        assert set(sizes) <= known | {0}, (tensor.name, sizes)
