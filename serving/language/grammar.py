"""The grammar of the language model's answer text: one small JSON object whose values are words of the sentence.

    {"intent": "replace", "target": "red car", "replacement": "boat"}

Each field has a finite set of values for a given sentence, so the grammar is a chain of token tries, one a field.
A token is allowed when some whole answer text continues with it: nothing else can ever come out, and the names of
objects that the model has never seen are copied rightly.
"""

import json
import re
import string
from collections.abc import Callable, Sequence

from serving.intents import INTENTS, NO_EDIT
from serving.language.referring import ARTICLES

START = '{"intent": "'
MAX_SPAN_WORDS = 10

_TO_TARGET = '", "target": "'
_TO_REPLACEMENT = '", "replacement": "'
_END = '"}'
_NO_EDIT = f"{NO_EDIT}{_TO_TARGET}{_TO_REPLACEMENT}{_END}"

_MARKS = string.punctuation + "“”„‘’«»‹›…–—→·。、，；：！？「」¿¡"

FUNCTION_WORDS = ARTICLES | frozenset(
    """
    about altogether and as at be become becomes been but by can completely could do does entirely exactly for from had
    has have if in instead into is it its let must of on onto or ought please rather shall should so than thank thanks
    that then to totally until using was were when where which while who why will with would
    """.split()
)
"""English words that no name of an object starts or ends with."""
CLAUSE_WORDS = frozenset(
    "become becomes instead it must ought please shall should so thank thanks using where will would".split()
)
"""Words that no name of an object holds: past them another clause has begun."""

Encode = Callable[[Sequence[str]], list[list[int]]]


def spans(sentence: str, max_words: int = MAX_SPAN_WORDS) -> list[str]:
    """Runs of whole words of the sentence, as written, each once.

    Punctuation and quotes at the ends of words are left off, no run crosses them, no run starts or ends with a function
    word or holds one that begins a clause: "Swap the car, please" -> Swap, Swap the car, car.
    """
    found: dict[str, None] = {}
    for words in _phrases(sentence):
        folded = [word.lower() for word in words]
        for first in range(len(words)):
            for last in range(first, min(first + max_words, len(words))):
                if folded[last] in CLAUSE_WORDS:
                    break
                if folded[first] not in FUNCTION_WORDS and folded[last] not in FUNCTION_WORDS:
                    found[" ".join(words[first : last + 1])] = None
    return list(found)


def _phrases(sentence: str) -> list[list[str]]:
    """The sentence's words without the marks at their ends, cut into phrases where the marks stood."""
    phrases: list[list[str]] = [[]]
    for word in re.sub(r"([,;:!?]+)(?=[^\d\s])", r"\1 ", sentence).split():
        core = word.strip(_MARKS)
        if word[0] in _MARKS:
            phrases.append([])
        if core:
            phrases[-1].append(core)
        if word[-1] in _MARKS:
            phrases.append([])
    return phrases


def _values(sentence: str) -> list[str]:
    """What a field may hold, spelt as JSON."""
    return [json.dumps(span, ensure_ascii=False)[1:-1] for span in spans(sentence)]


def _without(sentence: str, target: str) -> str:
    """The sentence with a mark in the target's place; as it is when the target's words stand there more than once."""
    rest, count = re.subn(rf"(?<!\w){re.escape(target)}(?!\w)", ".", sentence)
    return rest if count == 1 else sentence


def _trie(sequences: Sequence[Sequence[int]]) -> dict:
    """Token sequences merged where they begin alike: each node maps a token to the node after it."""
    root: dict = {}
    for sequence in sequences:
        node = root
        for token in sequence:
            node = node.setdefault(token, {})
    return root


class AnswerState:
    """How far one sentence's answer text has come in the grammar: it grows token by token.

    `allowed` are the tokens that may come next (empty: the text is complete); `advance` takes one of them.
    The values are tokenised together with what follows them, as a tokeniser would cut the whole text.
    """

    def __init__(self, sentence: str, encode: Encode):
        self.tokens: list[int] = []
        self._encode = encode
        self._sentence = sentence
        self._values = _values(sentence)
        self._next_field = 0
        self._node: dict = {}
        self._intent = ""
        intents = [intent + _TO_TARGET for intent in INTENTS] if self._values else []
        self._enter([*intents, _NO_EDIT])

    @property
    def allowed(self) -> list[int]:
        return list(self._node)

    def advance(self, token: int) -> None:
        """Take the next token, then enter the next field when this one's value is complete."""
        self._node = self._node[token]
        self.tokens.append(token)
        if self._node:
            return
        self._next_field += 1
        text = self._texts[tuple(self.tokens[self._field_start :])]
        if self._next_field == 1 and text != _NO_EDIT:
            self._intent = text.removesuffix(_TO_TARGET)
            suffix = _TO_REPLACEMENT if INTENTS[self._intent].needs_replacement else f"{_TO_REPLACEMENT}{_END}"
            self._enter([value + suffix for value in self._values])
        elif self._next_field == 2 and self._intent and INTENTS[self._intent].needs_replacement:
            target = json.loads('"' + text.removesuffix(_TO_REPLACEMENT) + '"')
            elsewhere = _values(_without(self._sentence, target))
            self._enter([value + _END for value in elsewhere or self._values])

    def forced(self) -> list[int]:
        """Take the tokens that have no alternative, up to the next choice or the end, and return them."""
        run = []
        while len(self._node) == 1:
            run.append(next(iter(self._node)))
            self.advance(run[-1])
        return run

    def _enter(self, texts: list[str]) -> None:
        encoded = self._encode(texts)
        self._texts = {tuple(tokens): text for tokens, text in zip(encoded, texts, strict=True)}
        self._field_start = len(self.tokens)
        self._node = _trie(encoded)
