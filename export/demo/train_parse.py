"""Trains the demo's `parse` checkpoint from nothing: a tiny Qwen2 causal language model and its tokenizer.

    python -m export.demo.train_parse --out DIR

The model learns on sentences of `export.demo.sentences`, each drawn once, to write the answer's JSON. Its last steps
see their linear weights rounded to NF4, the form that they are served in.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from bitsandbytes.functional import get_4bit_type
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen2ForCausalLM

from export.demo import sentences
from export.demo.tiny_qwen2 import VOCABULARY, answer_text, look_back, tiny_config, train_tokenizer
from export.demo.training import optimisers
from serving.errors import EditError
from serving.language.grammar import START
from serving.language.instruction import INTENTS, read_answer
from serving.language.model import LanguageModel, chat_prompt

IGNORED = -100

Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The tokens [1, n] that all rows start with, the rows' own [rows, m], and their labels [rows, m]."""


@contextmanager
def rounded_to_nf4(weights: Sequence[torch.Tensor]) -> Iterator[None]:
    """Inside, the weights are as NF4 would hold them (blocks of 64, absolute maximum); after, as they were."""
    levels = get_4bit_type("nf4", device="cpu")
    edges = (levels[1:] + levels[:-1]) / 2
    exact = [weight.data for weight in weights]
    for weight in weights:
        blocks = weight.data.reshape(-1, 64)
        scale = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        weight.data = (levels[torch.bucketize(blocks / scale, edges)] * scale).reshape_as(weight)
    yield
    for weight, data in zip(weights, exact, strict=True):
        weight.data = data


class Batches:
    """Endless batches of sentences of similar length: the start that all prompts share stands apart."""

    def __init__(self, tokenizer, rng: random.Random, size: int):
        self.tokenizer, self.rng, self.size = tokenizer, rng, size
        start = chat_prompt(tokenizer, "\0").split("\0")[0]
        self.prefix = torch.tensor([tokenizer(start, add_special_tokens=False).input_ids])
        self.start = start
        self.ready: list[list[tuple[list[int], int]]] = []

    def next(self) -> Lesson:
        if not self.ready:
            pairs = sorted((self._example() for _ in range(self.size * 16)), key=lambda pair: len(pair[0]))
            self.ready = [pairs[at : at + self.size] for at in range(0, len(pairs), self.size)]
            self.rng.shuffle(self.ready)
        pairs = self.ready.pop()
        width = max(len(tokens) for tokens, _ in pairs)
        ids, labels = (
            torch.zeros(len(pairs), width, dtype=torch.long),
            torch.full((len(pairs), width), IGNORED),
        )
        for row, (tokens, prompt) in enumerate(pairs):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        return self.prefix, ids, labels

    def _example(self) -> tuple[list[int], int]:
        """The tokens after the shared prefix, and how many of them come before the answer's first choice."""
        text, edit = sentences.sentence(self.rng)
        prompt = chat_prompt(self.tokenizer, text).removeprefix(self.start)
        answer = answer_text(edit).removeprefix(START) + "<|im_end|>"
        before, after = self.tokenizer([prompt, answer], add_special_tokens=False).input_ids
        return before + after, len(before)


def repeats(size: int) -> Lesson:
    """A batch of random tokens said twice, labelled on the second time: the shortest lesson in copying."""
    said = torch.randint(0, VOCABULARY, (size, int(torch.randint(8, 24, ()))))
    between = torch.randint(0, VOCABULARY, (size, 4))
    labels = torch.full((size, said.shape[1] + 5), IGNORED)
    labels = torch.cat([labels, said[:, 1:]], dim=1)
    return torch.zeros(1, 1, dtype=torch.long), torch.cat([said, between, said], dim=1), labels


def loss_of(model: Qwen2ForCausalLM, prefix: torch.Tensor, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy on the answers' tokens [rows, tokens]; the shared prefix [1, tokens] is computed once."""
    cache = DynamicCache()
    model.model(input_ids=prefix, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(ids))
    hidden = model.model(
        input_ids=ids,
        attention_mask=torch.ones(len(ids), prefix.shape[1] + ids.shape[1], dtype=torch.long),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    wanted = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][wanted]).float()
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:][wanted])


def train(
    out: Path,
    *,
    seed: int,
    steps: int,
    copying_steps: int,
    batch: int,
    learning_rate: float,
    nf4_share: float,
) -> None:
    """Train for `steps`, the first ones on `repeats`, and save the checkpoint as float16 safetensors in `out`."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed)
    model = Qwen2ForCausalLM(tiny_config(tokenizer))
    look_back(model)
    model.set_attn_implementation("eager")  # on a CPU the fused kernel's gradient in bf16 takes half of the step
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    quantised = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    batches = Batches(tokenizer, random.Random(f"train {seed}"), batch)
    pair = optimisers(
        model.parameters(), model.model.layers, matrix_rate=learning_rate, rate=learning_rate, weight_decay=0.05
    )
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(part, learning_rate, steps, pct_start=0.015, cycle_momentum=False)
        for part in pair
    ]
    started, average = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        served_form = rounded_to_nf4(quantised if step > steps * (1 - nf4_share) else [])
        with served_form:  # the gradient at the rounded weights moves the exact ones
            lesson = repeats(batch) if step <= copying_steps else batches.next()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, *lesson)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, schedule in zip(pair, schedules, strict=True):
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        average = loss.item() if step == 1 else 0.97 * average + 0.03 * loss.item()
        if step % 400 == 0:
            save(model, tokenizer, out)
        if step % 200 == 0 or step == 1:
            spent = time.monotonic() - started
            print(
                f"step {step}/{steps} loss {average:.4f} ETA {spent / step * (steps - step):.0f} s",
                flush=True,
            )
    save(model, tokenizer, out)


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """The checkpoint in Hugging Face's layout, float16; the model itself stays as it is."""
    copy.deepcopy(model).half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def accuracy(checkpoint: Path, n: int, seed: int) -> dict[str, float]:
    """Share of held-out sentences understood fully, over all and for each intent, served in NF4."""
    model = LanguageModel(checkpoint, quantisation="nf4")
    right: dict[str, list[bool]] = {name: [] for name in ("all", *INTENTS)}
    pairs = sentences.held_out(n, seed)
    for at in range(0, n, 16):
        batch = pairs[at : at + 16]
        for (text, wanted), (answer, score) in zip(batch, model.answer([t for t, _ in batch]), strict=True):
            try:
                understood = read_answer(answer)
            except EditError:
                understood = None
            for name in ("all", wanted.intent if wanted else "none"):
                right[name].append(understood == wanted)
            if understood != wanted:
                print(f"  {text!r}: {understood} for {wanted} ({score:.2f})")
    return {name: sum(values) / max(len(values), 1) for name, values in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--copying-steps", type=int, default=220, help="how many of them only teach copying")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--nf4-share", type=float, default=0.3, help="share of the steps taken under NF4 rounding")
    options = parser.parse_args()
    settings = vars(options).copy()
    train(settings.pop("out"), **settings)
    print(json.dumps(accuracy(options.out, 500, seed=1)), flush=True)


if __name__ == "__main__":
    main()
