"""Stable Diffusion XL inpainting: two text encoders, and a UNet that also wants a pooled embedding and sizes.

What is more than in Stable Diffusion travels in one more row of `encoder_hidden_states`, the last: the pooled
embedding, then the six numbers that diffusers calls time ids, then zeros. So the models of the repository have the
same inputs and outputs for every family, and requests are merged in the same way.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from export import unet, vae, weights
from export.checkpoint import read_json, read_tokenizer
from export.errors import ExportError
from export.network import Network, integers

TOKENIZERS = ("tokenizer", "tokenizer_2")
ENCODERS = ("text_encoder", "text_encoder_2")
TIME_IDS = 6


class TextEncoders(torch.nn.Module):
    """int64 input_ids [batch, 2 · tokens], each tokenizer's in turn -> float32 last_hidden_state
    [batch, tokens + 1, hidden]: the last but one layers of both side by side, then the row described above.

    An empty prompt gives zeros where the pipeline is set so (`force_zeros_for_empty_prompt`).
    """

    def __init__(self, first: Any, second: Any, size: int, end: int | None):
        """`size` is the picture's side in px; `end` the token that an empty prompt begins with, None for no zeros."""
        super().__init__()
        self.first, self.second, self.end = first, second, end
        self.tokens = first.config.max_position_embeddings
        hidden = first.config.hidden_size + second.config.hidden_size
        spare = hidden - second.config.projection_dim - TIME_IDS
        if spare < 0:
            raise ExportError(f"the text encoders' {hidden} channels hold no pooled embedding and sizes")
        sizes = [size, size, 0, 0, size, size]  # the original's, the crop's corner, the target's
        self.register_buffer("sizes", torch.tensor([*map(float, sizes), *[0.0] * spare]))

    def forward(self, input_ids):
        ours, theirs = input_ids[:, : self.tokens], input_ids[:, self.tokens :]
        hidden = self.first(ours, output_hidden_states=True).hidden_states[-2]
        other = self.second(theirs, output_hidden_states=True)
        hidden = torch.cat([hidden, other.hidden_states[-2]], dim=-1)
        pooled = other.text_embeds
        if self.end is not None:
            said = (ours[:, 1:2] != self.end).to(hidden.dtype)
            hidden, pooled = hidden * said[:, :, None], pooled * said
        sizes = self.sizes.to(hidden.dtype).expand(pooled.shape[0], -1)
        return torch.cat([hidden, torch.cat([pooled, sizes], dim=-1)[:, None]], dim=1)


class SameType(torch.nn.Module):
    """`module` with its output in the input's dtype: ONNX, unlike torch, joins tensors of one dtype only."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, numbers):
        return self.module(numbers).to(numbers.dtype)


class Unet(torch.nn.Module):
    """As unet.Unet, with the row described above at the end of encoder_hidden_states."""

    def __init__(self, model: Any):
        super().__init__()
        self.unet = model
        model.add_time_proj = SameType(model.add_time_proj)
        config = model.config
        self.pooled = config.projection_class_embeddings_input_dim - TIME_IDS * config.addition_time_embed_dim

    def forward(self, sample, timestep, encoder_hidden_states):
        row = encoder_hidden_states[:, -1]
        conditions = {"text_embeds": row[:, : self.pooled], "time_ids": row[:, self.pooled :][:, :TIME_IDS]}
        return self.unet(
            sample, timestep, encoder_hidden_states[:, :-1], added_cond_kwargs=conditions, return_dict=False
        )[0]


def load_text_encoder(checkpoint: Path) -> Network:
    """Both text encoders in `checkpoint`, a diffusers pipeline folder, as one network."""
    classes: tuple[Any, Any] = (CLIPTextModel, CLIPTextModelWithProjection)
    first, second = (
        weights.load(kind, checkpoint / folder, weights.TRANSFORMERS, dtype=torch.float32, attn_implementation="eager")
        for kind, folder in zip(classes, ENCODERS, strict=True)
    )
    side = read_json(checkpoint / "unet" / "config.json")["sample_size"]
    size = side * vae.downscale(read_json(checkpoint / "vae" / "config.json"))
    # the configuration of CLIP's text models often has another number for it than the tokenizer
    end = read_tokenizer(checkpoint / TOKENIZERS[0]).eos_token_id
    force_zeros = read_json(checkpoint / "model_index.json").get("force_zeros_for_empty_prompt", True)
    sequence = first.config.max_position_embeddings
    return Network(
        name="text_encoder",
        module=TextEncoders(first, second, size, end if force_zeros else None),
        inputs={"input_ids": ("batch", "sequence")},
        outputs={"last_hidden_state": ("batch", "positions", "hidden")},
        sizes=tuple({"batch": batch, "sequence": 2 * sequence} for batch in (2, 1, 5)),
        constant=frozenset({"sequence", "positions", "hidden"}),
        draws={"input_ids": integers(0, min(first.config.vocab_size, second.config.vocab_size))},
    )


def load_unet(checkpoint: Path) -> Network:
    """The UNet in `checkpoint`, a diffusers pipeline folder."""
    return unet.load(checkpoint, Unet)
