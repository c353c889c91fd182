"""Attention of diffusers' networks as one operator of ONNX Runtime's."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention


class OneOperator:
    """An attention processor: com.microsoft.MultiHeadAttention in the exported file, torch's own kernel elsewhere.

    ONNX Runtime computes it without ever holding the scores of all pairs of positions, on CPUs and on GPUs. Its
    own fusion finds none in the graphs of torch's exporter.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`hidden_states` [batch, positions, channels], or a VAE's [batch, channels, height, width]; the same out."""
        if attention_mask is not None:
            raise NotImplementedError("attention masks are not exported")
        states, size = hidden_states, hidden_states.shape
        if len(size) == 4:
            states = states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            states = attn.group_norm(states.transpose(1, 2)).transpose(1, 2)
        context = states if encoder_hidden_states is None else encoder_hidden_states
        states = _attend(attn.to_q(states), attn.to_k(context), attn.to_v(context), attn.heads)
        states = attn.to_out[0](states)
        if len(size) == 4:
            states = states.transpose(1, 2).reshape(size)
        if attn.residual_connection:
            states = states + hidden_states
        return states / attn.rescale_output_factor


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Softmax attention in `heads` heads; all [batch, positions, channels]."""
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            (query, key, value),
            {"num_heads": heads},
            dtype=query.dtype,
            shape=query.shape,
            version=1,
        )
    split = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    return scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
