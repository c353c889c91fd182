"""A tiny Qwen2 to train: its tokenizer in ChatML, its configuration, and a start that helps it to copy."""

import json
import random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from export.demo import sentences
from serving.language.model import SYSTEM_PROMPT

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Qwen2's cuts, but a space is a token of its own: a noun then has the same tokens in the sentence (after a space) and
# in the answer (after a quote), which a model this small can copy.
CUTS = r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}\p{M}]+[\r\n]*|\s*[\r\n]+|\s"
VOCABULARY = 1024


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the sentence world, in Qwen2's layout with a ChatML template."""
    rng = random.Random(f"tokenizer {seed}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_dialogue(rng) for _ in range(30_000)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _dialogue(rng: random.Random) -> str:
    text, edit = sentences.sentence(rng)
    system = SYSTEM_PROMPT if rng.random() < 0.05 else ""
    return f"system\n{system}\nuser\n{text}\nassistant\n{answer_text(edit)}"


def answer_text(edit: sentences.Edit | None) -> str:
    """The whole answer that the model shall learn to write, the fixed START included."""
    edit = edit or sentences.Edit("none", "", "")
    return json.dumps(
        {"intent": edit.intent, "target": edit.target, "replacement": edit.replacement}, ensure_ascii=False
    )


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def look_back(model: Qwen2ForCausalLM) -> None:
    """Start the first layer's first heads as attention to the token 1, 2 and 3 places back, by their biases alone.

    With constant query and key, RoPE makes a head's logit a function of the distance: sum over frequencies f of
    cos(f (distance - wanted)). Copying is built on such heads (Olsson et al. 2022, "In-context Learning and Induction
    Heads"); a short training is not left to discover them.
    """
    config: Any = model.config
    size = config.hidden_size // config.num_attention_heads
    theta = config.rope_parameters["rope_theta"]
    frequencies = theta ** (-torch.arange(0, size, 2) / size)
    attention = model.model.layers[0].self_attn
    shared = config.num_attention_heads // config.num_key_value_heads
    with torch.no_grad():
        attention.k_proj.bias[: size // 2] = 6.0
        for head in range(shared):
            turn = frequencies * (head + 1)
            attention.q_proj.bias[head * size : (head + 1) * size] = 6.0 * torch.cat([turn.cos(), -turn.sin()])
