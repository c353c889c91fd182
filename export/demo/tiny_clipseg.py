"""The demo's segmenter: a CLIPSeg small enough to learn from nothing on a CPU, with gradients through its tower."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

SIZE, PATCH = 192, 16
CONTEXT_LENGTH = 16


def build(tokenizer: CLIPTokenizer) -> CLIPSegForImageSegmentation:
    text = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT_LENGTH,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": PATCH,
    }
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=128,
        reduce_dim=64,
        extract_layers=[0, 1, 3],
        decoder_intermediate_size=128,
        use_complex_transposed_convolution=True,
    )
    model = CLIPSegForImageSegmentation(config)
    # transformers gives these layers weights of deviation 1, made to be overwritten by a checkpoint's.
    for layer in [model.decoder.film_mul, model.decoder.film_add, *model.decoder.reduces,
                  *model.decoder.transposed_convolution]:  # fmt: skip
        if not isinstance(layer, nn.ReLU):
            layer.reset_parameters()
    nn.init.constant_(model.decoder.film_mul.bias, 1.0)
    nn.init.constant_(model.decoder.transposed_convolution[-1].bias, -2.0)
    place(model.clip.vision_model)
    return model


@torch.no_grad()
def place(tower: Any) -> None:
    """Make patches know where they are and attend to their like and their neighbours from the first step.

    From CLIP's own initialisation, made for millions of pictures, a tower sees a bag of patches for the first
    hour: positions a twentieth as strong as colours, attention uniform. Positions become sines of several
    wavelengths; queries equal keys (after Trockman and Kolter, "Mimetic Initialization", 2023).
    """
    table = tower.embeddings.position_embedding.weight
    side, waves = SIZE // PATCH, table.shape[1] // 4
    rates = 2 * math.pi / torch.logspace(math.log10(3), math.log10(4 * side), waves)
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)
    table[1:] = torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], 1)
    for layer in tower.encoder.layers:
        nn.init.normal_(layer.self_attn.q_proj.weight, std=table.shape[1] ** -0.5)
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


def see(model: CLIPSegForImageSegmentation, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The activations that the decoder reads, with gradients: the class's own forward freezes the tower."""
    tower = model.clip.vision_model
    hidden = tower.pre_layrnorm(tower.embeddings(pixels, interpolate_pos_encoding=False))
    seen = []
    for layer in tower.encoder.layers:
        hidden = layer(hidden, None)
        seen.append(hidden)
    return [seen[i] for i in model.extract_layers]


def decode(model: CLIPSegForImageSegmentation, activations: list[torch.Tensor], texts: torch.Tensor) -> torch.Tensor:
    """Logits [images · queries, h, w], as CLIPSegDecoder computes them but each picture reduced once."""
    decoder, output = model.decoder, torch.zeros(())
    for i, (activation, layer, reduce) in enumerate(
        zip(activations[::-1], decoder.layers, decoder.reduces, strict=True)
    ):
        reduced = reduce(activation).repeat_interleave(len(texts) // len(activation), 0)
        output = reduced + output
        if i == decoder.conditional_layer:
            output = decoder.film_mul(texts)[:, None] * output + decoder.film_add(texts)[:, None]
        output = layer(output, None)
    side = round(math.sqrt(output.shape[1] - 1))
    return decoder.transposed_convolution(output[:, 1:].transpose(1, 2).unflatten(2, (side, side))).squeeze(1)
