"""segmenter: CLIPSeg, from a picture and a phrase to how much each pixel belongs to what the phrase names."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPSegForImageSegmentation

from export.network import Draw, Network


class Segmenter(torch.nn.Module):
    """float32 pixel_values [batch, 3, height, width], int64 input_ids and attention_mask [batch, sequence] ->
    float32 logits [batch, height, width]."""

    def __init__(self, model: CLIPSegForImageSegmentation):
        super().__init__()
        self.model = model

    def forward(self, pixel_values, input_ids, attention_mask):
        # given input_ids, the model itself compares len(input_ids) with the batch, which fixes it in the export
        phrases = self.model.clip.get_text_features(input_ids, attention_mask=attention_mask).pooler_output
        logits = self.model(pixel_values=pixel_values, conditional_embeddings=phrases).logits
        return logits.reshape(-1, *pixel_values.shape[2:])


def load(checkpoint: Path, side: int) -> Network:
    """The CLIPSeg model in `checkpoint`, for square pictures of `side` pixels."""
    model = CLIPSegForImageSegmentation.from_pretrained(
        checkpoint, dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
    )
    text: Any = model.config.text_config
    sizes = {"height": side, "width": side, "sequence": text.max_position_embeddings}
    return Network(
        name="segmenter",
        module=Segmenter(model),
        inputs={
            "pixel_values": ("batch", 3, "height", "width"),
            "input_ids": ("batch", "sequence"),
            "attention_mask": ("batch", "sequence"),
        },
        outputs={"logits": ("batch", "height", "width")},
        sizes=tuple({"batch": batch, **sizes} for batch in (2, 1, 3)),
        constant=frozenset(sizes),
        draws={"input_ids": _phrases(text.vocab_size, text.eos_token_id), "attention_mask": _lengths},
    )


def _phrases(vocab_size: int, eos_token_id: Any) -> Draw:
    """Random tokens, each row ended where `_lengths` ends it: the phrase's embedding is read at the end token."""

    def draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        ids = torch.randint(0, vocab_size, shape, generator=generator)
        ends = _lengths(shape, generator).sum(1, keepdim=True) - 1
        return ids.scatter(1, ends, eos_token_id)

    return draw


def _lengths(shape: tuple[int, ...], _: torch.Generator) -> torch.Tensor:
    """Ones for a phrase, zeros for its padding: each row one token shorter than the row before."""
    ends = shape[1] - 1 - torch.arange(shape[0]) % (shape[1] - 2)
    return (torch.arange(shape[1]) <= ends[:, None]).long()
