"""The language model behind `parse`: chat prompts in, grammatical answers out, several prompts together.

Only the parse step and the training import this module: it needs torch and transformers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, DynamicCache

from serving.grammar import START, Answer

SYSTEM_PROMPT = (
    "Answer with the edit that the sentence asks for, as JSON. "
    "intent is replace, recolour, remove or none; target and replacement are words of the sentence."
)


def chat_prompt(tokenizer, sentence: str) -> str:
    """The text up to and with the answer's fixed start, in the checkpoint's own chat template."""
    # "<|" could spell one of the template's own marks.
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": sentence.replace("<|", "<")},
    ]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + START


class LanguageModel:
    """A causal language model from a Hugging Face folder, its linear layers in NF4 when `quantisation` is "nf4".

    Computes in float32 on a CPU and in bfloat16 on a GPU.
    """

    def __init__(self, checkpoint: Path, *, quantisation: str | None, device: str = "cpu"):
        if quantisation not in (None, "nf4"):
            raise ValueError(f"unknown quantisation {quantisation!r}: nf4 or null")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForCausalLM.from_pretrained(
            checkpoint,
            dtype=dtype,
            device_map={"": device},
            quantization_config=nf4 if quantisation else None,
        ).eval()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False).input_ids

    @torch.inference_mode()
    def answer(self, sentences: Sequence[str]) -> list[tuple[str, float]]:
        """The JSON answer to each sentence, and its score in 0 … 1.

        The score is the product, over the tokens where the grammar left a choice, of the chosen token's probability
        among the allowed ones. Tokens without an alternative join the next call of the model, which therefore runs
        once for each choice and not once for each token.
        """
        if not sentences:
            return []
        answers = [Answer(sentence, self.encode) for sentence in sentences]
        scores = [1.0] * len(answers)
        prompts = self.encode([chat_prompt(self.tokenizer, sentence) for sentence in sentences])
        pending = [prompt + answer.forced() for prompt, answer in zip(prompts, answers, strict=True)]
        cache, mask = DynamicCache(), torch.empty(len(answers), 0, dtype=torch.long, device=self.model.device)
        while any(answer.allowed for answer in answers):
            logits, mask = self._forward(pending, cache, mask)
            for row, answer in enumerate(answers):
                pending[row] = []
                if answer.allowed:
                    token, probability = _choose(logits[row], answer.allowed)
                    scores[row] *= probability
                    answer.advance(token)
                    pending[row] = [token, *answer.forced()]
        return [
            (START + str(self.tokenizer.decode(answer.tokens)), score)
            for answer, score in zip(answers, scores, strict=True)
        ]

    def _forward(
        self, pending: list[list[int]], cache: DynamicCache, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append each row's pending tokens to the cache: the logits [rows, vocabulary] after them, and the new mask.

        Rows are padded on the left to the longest; the mask [rows, cached] hides the padding for good.
        """
        width = max(len(tokens) for tokens in pending)
        padding = [width - len(tokens) for tokens in pending]
        ids = torch.tensor([[0] * pad + tokens for pad, tokens in zip(padding, pending, strict=True)])
        real = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding])
        mask = torch.cat([mask, real.to(mask.device)], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -width:]
        output = self.model(
            input_ids=ids.to(mask.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float(), mask


def _choose(logits: torch.Tensor, allowed: list[int]) -> tuple[int, float]:
    """The likeliest of the allowed tokens, and its probability among them; `logits` is [vocabulary]."""
    probabilities = logits[allowed].softmax(dim=0)
    best = int(probabilities.argmax())
    return allowed[best], float(probabilities[best])
