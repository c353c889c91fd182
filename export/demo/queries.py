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

    First a kind that is there, then a colour and kind, then a near miss, another kind and a stranger in turn.
    """
    kind, colour = names[rng.integers(len(names))]
    asked = [_query(names, kind, None), _query(names, kind, colour)]
    if len(names) > 1:
        asked[1] = _query(names, *names[rng.integers(len(names))])
    misses = [_near_miss(rng, names), _absent(rng, names), _stranger(rng, names)]
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


def _absent(rng: np.random.Generator, names: Sequence[tuple[str, str]]) -> Query:
    """A kind of the demo world that is not there: a bicycle has wheels, and is no car."""
    return _described(rng, names, str(rng.choice([kind for kind in world.KINDS if all(kind != n for n, _ in names)])))


def _stranger(rng: np.random.Generator, names: Sequence[tuple[str, str]]) -> Query:
    """A word from elsewhere, or letters at random."""
    if rng.random() < 0.7:
        return _described(rng, names, str(rng.choice(STRANGERS)))
    return _described(rng, names, "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 10)))))


def _described(rng: np.random.Generator, names: Sequence[tuple[str, str]], noun: str) -> Query:
    """A noun that names nothing in the scene, at times with a colour, likely one that is there."""
    if rng.random() < 0.6:
        return (noun, ())
    colour = names[rng.integers(len(names))][1] if rng.random() < 0.5 else str(rng.choice(world.COLOURS))
    return (f"{colour} {noun}", ())
