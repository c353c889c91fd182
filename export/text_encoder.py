"""text_encoder: CLIP's text tower, from token ids to what the UNet attends to."""

from pathlib import Path

import torch
from transformers import CLIPTextModel

from export import weights
from export.network import Network, integers


class TextEncoder(torch.nn.Module):
    """int64 input_ids [batch, sequence] -> float32 last_hidden_state [batch, sequence, hidden]."""

    def __init__(self, model: CLIPTextModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model(input_ids=input_ids).last_hidden_state


def load(checkpoint: Path) -> Network:
    """The text encoder in `checkpoint`, a diffusers pipeline folder."""
    folder = checkpoint / "text_encoder"
    model = weights.load(CLIPTextModel, folder, weights.TRANSFORMERS, dtype=torch.float32, attn_implementation="eager")
    sequence = model.config.max_position_embeddings
    return Network(
        name="text_encoder",
        module=TextEncoder(model),
        inputs={"input_ids": ("batch", "sequence")},
        outputs={"last_hidden_state": ("batch", "sequence", "hidden")},
        sizes=tuple({"batch": batch, "sequence": sequence} for batch in (2, 1, 5)),
        constant=frozenset({"sequence", "hidden"}),
        draws={"input_ids": integers(0, model.config.vocab_size)},
    )
