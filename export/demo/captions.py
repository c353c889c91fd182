"""What the demo's crops are called: the words that its text encoder learns."""

from __future__ import annotations

import numpy as np

from export.demo import world
from export.demo.plans import Placed

EMPTY = "empty background"
"""The caption of a removal; `serving.intents` says the same."""
PLACES = {
    "street": ("on a street", "a street", "in the street", "a city street"),
    "room": ("in a room", "a room", "indoors", "on a wooden floor"),
    "lawn": ("on a lawn", "a lawn", "on the grass", "a meadow"),
    "beach": ("on a beach", "a beach", "at the beach", "on the sand"),
    "snow": ("in the snow", "snow", "a snowy field", "on snow"),
}


def of_thing(rng: np.random.Generator, thing: Placed) -> str:
    """ "a red car"; often without its colour, as people write."""
    return _with_article(thing.kind if rng.random() < 0.3 else world.phrase(thing))


def of_place(rng: np.random.Generator, place: str, subject: Placed) -> str:
    """A place by itself ("on a beach", "a beach"), or with what stands there ("a red car on a beach")."""
    words = str(rng.choice(PLACES[place]))
    if rng.random() < 0.7:
        return words
    return f"{of_thing(rng, subject)} {PLACES[place][0]}"


def every() -> list[str]:
    """Captions in which all words of the above occur, for the tokenizer."""
    things = [_with_article(f"{colour} {kind}") for colour in world.COLOURS for kind in world.KINDS]
    kinds = [_with_article(kind) for kind in world.KINDS]
    return [*things, *kinds, *(words for place in PLACES.values() for words in place), EMPTY]


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
