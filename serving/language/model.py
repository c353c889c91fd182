"""The language model behind `parse`: chat prompts in, grammatical answer texts out, several prompts together.

Only the parse step and the training import this module: it needs torch and transformers.
"""

import copy
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, DynamicCache
from transformers.cache_utils import DynamicLayer

from serving.intents import INTENTS, NO_EDIT
from serving.language.grammar import START, AnswerState
from serving.language.memory import bytes_needed, placement
from serving.language.stand_ins import with_stand_ins

SYSTEM_PROMPT = (
    "Answer with the edit that the sentence asks for, as JSON. "
    f"intent is {', '.join(INTENTS)} or {NO_EDIT}; target and replacement are words of the sentence."
)
QUANTISATIONS = (None, "nf4", "nf4_double")
"""As in parse.json: NF4, and NF4 whose blocks' absolute maxima are quantised once more."""
SEAM_SENTENCES = ("a", "Z", "7", "é", "你", '"', "(")
"""Sentences with different first letters: what their prompts share are the template's own tokens."""


def chat_prompt(tokenizer, sentence: str) -> str:
    """The text up to and with the answer text's fixed start, in the checkpoint's own chat template."""
    # "<|" could spell one of the template's own marks.
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": sentence.replace("<|", "<")},
    ]
    template = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}  # the last is Qwen3's own
    return tokenizer.apply_chat_template(messages, **template) + START


def own_quantisation(config: Mapping[str, Any]) -> str | None:
    """What the content of a config.json says that the weights are quantised to, as in QUANTISATIONS.

    ValueError for anything but bitsandbytes' NF4.
    """
    own = config.get("quantization_config")
    if own is None:
        return None
    if own.get("load_in_4bit") and own.get("bnb_4bit_quant_type") == "nf4":
        return "nf4_double" if own.get("bnb_4bit_use_double_quant") else "nf4"
    kind = own.get("quant_method", "an unnamed method")
    if kind == "bitsandbytes":
        kind += " in FP4" if own.get("load_in_4bit") else " in 8 bits"
    raise ValueError(
        f"the weights are quantised with {kind}: parse takes unquantised ones, which it can quantise itself,"
        " or NF4 of bitsandbytes"
    )


class LanguageModel:
    """A causal language model from a Hugging Face folder, its linear layers quantised as `quantisation` says.

    A folder that is quantised already stays as it is. Computes in bfloat16 on a GPU or where the checkpoint itself is
    in bfloat16, else in float32. Raises MemoryError when loading would take more than is free or more than
    `memory_limit` bytes, and ValueError for a quantisation that it does not know.
    """

    def __init__(
        self, checkpoint: Path, *, quantisation: str | None, device: str = "cpu", memory_limit: float = math.inf
    ):
        if quantisation not in QUANTISATIONS:
            raise ValueError(f"unknown quantisation {quantisation!r}: nf4, nf4_double or null")
        own = own_quantisation(json.loads((checkpoint / "config.json").read_text(encoding="utf-8")))
        config = AutoConfig.from_pretrained(checkpoint)
        dtype = torch.float32 if device == "cpu" and config.dtype != torch.bfloat16 else torch.bfloat16
        how = placement(bytes_needed(config, dtype, own or quantisation), device, memory_limit)
        if quantisation and not own:
            how["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=quantisation == "nf4_double",
                bnb_4bit_compute_dtype=dtype,
            )
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, **how).eval()
        self.prefix, self._prefix_cache = self._start_of_prompts()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False).input_ids

    def _start_of_prompts(self) -> tuple[list[int], DynamicCache]:
        """The tokens that prompts start with whatever the sentence, and their keys and values [1, heads, tokens, size].

        No tokens where the model keeps more than keys and values of all tokens.
        """
        if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=self.model.config).layers):
            return [], DynamicCache()
        prompts = self.encode([chat_prompt(self.tokenizer, sentence) for sentence in SEAM_SENTENCES])
        columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
        prefix = [column[0] for column in columns]
        sequences = Sequences(self.model, 1, DynamicCache())
        sequences.append([prefix])
        return prefix, sequences.cache

    @torch.inference_mode()
    def answer(self, sentences: Sequence[str]) -> list[tuple[str, float]]:
        """The answer text to each sentence, JSON, and its score in 0 … 1.

        The score is the product, over the tokens where the grammar left a choice, of the chosen token's probability
        among the allowed ones. Tokens without an alternative join the next call of the model, which therefore runs
        once for each choice and not once for each token. Colours are shown to it as plain words: see `stand_ins`.
        """
        if not sentences:
            return []
        plain = [with_stand_ins(sentence) for sentence in sentences]
        states = [AnswerState(shown.sentence, self.encode) for shown in plain]
        scores = [1.0] * len(states)
        sequences, pending = self.begin([chat_prompt(self.tokenizer, shown.sentence) for shown in plain])
        for row, state in enumerate(states):
            pending[row] += state.forced()
        while any(state.allowed for state in states):
            logits = sequences.append(pending)
            for row, state in enumerate(states):
                pending[row] = []
                if state.allowed:
                    token, probability = _choose(logits[row], state.allowed)
                    scores[row] *= probability
                    state.advance(token)
                    pending[row] = [token, *state.forced()]
        return [
            (shown.restored(START + str(self.tokenizer.decode(state.tokens))), score)
            for shown, state, score in zip(plain, states, scores, strict=True)
        ]

    def begin(self, prompts: Sequence[str]) -> tuple["Sequences", list[list[int]]]:
        """Sequences that hold the prompts' common start already, where they have it, and the tokens still to append."""
        encoded = self.encode(prompts)
        if any(tokens[: len(self.prefix)] != self.prefix for tokens in encoded):
            return Sequences(self.model, len(prompts), DynamicCache()), encoded
        return Sequences(self.model, len(prompts), self._prefix_cache), [
            tokens[len(self.prefix) :] for tokens in encoded
        ]


class Sequences:
    """Token sequences that grow together, a row each, and their keys and values in the model.

    All start with the tokens of `start`, a cache of one row, which stays as it is.
    """

    def __init__(self, model: Any, rows: int, start: DynamicCache):
        self.model = model
        self.cache = copy.deepcopy(start)
        self.cache.batch_repeat_interleave(rows)
        self.mask = torch.ones(rows, start.get_seq_length(), dtype=torch.long, device=model.device)

    @torch.inference_mode()
    def append(self, pending: list[list[int]]) -> torch.Tensor:
        """Append each row's pending tokens: the logits [rows, vocabulary] after them.

        Rows are padded on the left to the longest; the mask [rows, cached] hides the padding for good.
        """
        width = max(len(tokens) for tokens in pending)
        padding = [width - len(tokens) for tokens in pending]
        ids = torch.tensor([[0] * pad + tokens for pad, tokens in zip(padding, pending, strict=True)])
        real = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding])
        self.mask = torch.cat([self.mask, real.to(self.mask.device)], dim=1)
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:]
        output = self.model(
            input_ids=ids.to(self.mask.device),
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()


def _choose(logits: torch.Tensor, allowed: list[int]) -> tuple[int, float]:
    """The likeliest of the allowed tokens, and its probability among them; `logits` is [vocabulary]."""
    probabilities = logits[allowed].softmax(dim=0)
    best = int(probabilities.argmax())
    return allowed[best], float(probabilities[best])
