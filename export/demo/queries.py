"""What the segmenter is asked while it learns, and the tokenizer that reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer as Raw
from tokenizers import models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from export.demo import words, world

STRANGERS = tuple(noun for noun in words.NOUNS if noun not in world.KINDS)
OTHER_COLOURS = tuple(colour for colour in words.COLOUR_WORDS if colour not in world.COLOURS)
Query = tuple[str, tuple[int, ...]]
"""Words, and the indices of the things they mean: none where the scene has no such thing."""


def tokenizer(context_length: int) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges make one token of each word of the demo world, and pieces of all others."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Raw(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) * 2 + 400,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    own = [*world.KINDS, *world.COLOURS]
    learner.train_from_iterator([*own * 20, *words.COLOUR_WORDS * 5, *words.NOUNS], trainer)
    merges = [tuple(pair) for pair in _merges(learner)]
    symbols = [*alphabet, *(letter + "</w>" for letter in alphabet), *dict.fromkeys(a + b for a, b in merges)]
    vocab = {symbol: i for i, symbol in enumerate(dict.fromkeys([*symbols, "<|startoftext|>", "<|endoftext|>"]))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=context_length)


def _merges(learner: Raw) -> list[list[str]]:
    found = json.loads(learner.to_str())["model"]["merges"]
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in found]


def ask(rng: np.random.Generator, names: Sequence[tuple[str, str]], count: int) -> list[Query]:
    """`count` queries about a scene whose things are `names`, (kind, colour) each.

    First a kind that is there, then a colour and kind, then near misses and strangers in turn.
    """
    kind, colour = names[rng.integers(len(names))]
    asked = [_query(names, kind, None), _query(names, kind, colour)]
    if len(names) > 1:
        asked[1] = _query(names, *names[rng.integers(len(names))])
    misses = [_near_miss(rng, names), _stranger(rng, names)]
    if rng.random() < 0.3:
        misses[0] = _query(names, str(rng.choice(world.KINDS)), None)
    return [*asked, *(misses * count)][:count]


def _query(names: Sequence[tuple[str, str]], kind: str, colour: str | None) -> Query:
    wanted = tuple(i for i, name in enumerate(names) if name[0] == kind and colour in (None, name[1]))
    return (f"{colour} {kind}" if colour else kind, wanted)


def _near_miss(rng: np.random.Generator, names: Sequence[tuple[str, str]]) -> Query:
    """A colour and a kind that are both likely to be there, but not on one thing."""
    kind, own = names[rng.integers(len(names))]
    others = [colour for _, colour in names if colour != own]
    if others and rng.random() < 0.5:
        return _query(names, kind, others[rng.integers(len(others))])
    return _query(names, kind, str(rng.choice(world.COLOURS + OTHER_COLOURS)))


def _stranger(rng: np.random.Generator, names: Sequence[tuple[str, str]]) -> Query:
    """A thing that is not there: another kind, a word from elsewhere, or letters at random."""
    absent = [kind for kind in world.KINDS if all(kind != name for name, _ in names)]
    pick = rng.random()
    if pick < 0.5:
        noun = str(rng.choice(absent))
    elif pick < 0.85:
        noun = str(rng.choice(STRANGERS))
    else:
        noun = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 10))))
    if rng.random() < 0.4:
        colour = names[rng.integers(len(names))][1] if rng.random() < 0.5 else str(rng.choice(world.COLOURS))
        return (f"{colour} {noun}", ())
    return (noun, ())
