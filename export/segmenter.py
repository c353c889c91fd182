"""segmenter: CLIPSeg or SAM 3, from a picture and a phrase to how much each pixel belongs to what the phrase names."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, CLIPSegForImageSegmentation, Sam3Model

from export import weights
from export.checkpoint import one_line, read_json
from export.errors import ExportError
from export.network import Draw, Network

SURE = 1e-6
"""The least and, from 1, the most that a probability is taken for: logits stay within 14."""


class ClipSeg(torch.nn.Module):
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


class Sam3(torch.nn.Module):
    """The same for SAM 3, on a map of the network's own size: [batch, map_height, map_width].

    SAM 3 proposes a mask for each of many things, with a score, and a score that there is any. A pixel's probability
    is the highest that it is in some mask, times that mask's scores, as transformers' own post-processing scores them.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, pixel_values, input_ids, attention_mask):
        found = self.model(pixel_values=pixel_values, input_ids=input_ids, attention_mask=attention_mask)
        scores = found.pred_logits.sigmoid() * found.presence_logits.sigmoid()
        likely = (scores[:, :, None, None] * found.pred_masks.sigmoid()).amax(dim=1)
        return torch.logit(likely, SURE)


ARCHITECTURES: dict[str, tuple[Any, type[torch.nn.Module], tuple[str, str]]] = {
    "clipseg": (CLIPSegForImageSegmentation, ClipSeg, ("height", "width")),
    "sam3": (Sam3Model, Sam3, ("map_height", "map_width")),
    "sam3_video": (Sam3Model, Sam3, ("map_height", "map_width")),  # as published: with a tracker, which is left out
}
"""By config.json's model_type: the model, its wrapper, and the axes of its logits."""


def read_config(checkpoint: Path) -> Any:
    """The model's configuration. Raises ExportError for one that is no known segmenter."""
    read_json(checkpoint / "config.json")
    try:
        config: Any = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the libraries' errors have no class in common
        raise ExportError(
            f"{checkpoint / 'config.json'} is no configuration of a known model ({one_line(error)}): fetch it again"
        ) from error
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ExportError(f"{checkpoint} holds a {config.model_type}, and mask takes one of {known}")
    return config


def text_config(config: Any) -> Any:
    """The text encoder's part of a model's configuration."""
    return getattr(config, "detector_config", config).text_config


def load(checkpoint: Path, side: int) -> Network:
    """The model in `checkpoint`, for square pictures of `side` pixels."""
    config = read_config(checkpoint)
    text, (kind, wrapper, axes) = text_config(config), ARCHITECTURES[config.model_type]
    model = weights.load(kind, checkpoint, weights.TRANSFORMERS, dtype=torch.float32, attn_implementation="eager")
    sizes = {"height": side, "width": side, "sequence": text.max_position_embeddings}
    return Network(
        name="segmenter",
        module=wrapper(model),
        inputs={
            "pixel_values": ("batch", 3, "height", "width"),
            "input_ids": ("batch", "sequence"),
            "attention_mask": ("batch", "sequence"),
        },
        outputs={"logits": ("batch", *axes)},
        sizes=tuple({"batch": batch, **sizes} for batch in (2, 1, 3)),
        constant=frozenset({*sizes, *axes}),
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
