"""Plain colour words in the place of colours that a language model need not know: "#C0392B", "burnt orange".

The model reads a sentence in which each of them is one basic word that stands nowhere else in it. What the model then
answers gets the sentence's own words back, so that a phrase taken for a colour by mistake is copied as it was.
"""

import re
from dataclasses import dataclass, field

from serving.language.colours import BASIC, COLOURS, EXACT, FILLERS, FINISHES, SHADES, nearest_word, paint_of
from serving.language.grammar import CLAUSE_WORDS, FUNCTION_WORDS
from serving.language.materials import is_material
from serving.language.referring import ARTICLES

MAX_WORDS = 5
_COLOURING = frozenset(
    "make made turn paint painted repaint spray colour coloured color colored recolour recolor dye dyed tint".split()
)
_ONLY_COLOURS = frozenset(COLOURS) - {"golden", "silver", "violet"} | frozenset(
    """
    aqua aquamarine azure burgundy cerise charcoal crimson ecru fuchsia indigo khaki mauve ochre petrol scarlet taupe
    ultramarine vermilion
    """.split()
)
"""Words that are no thing and no material: "rose", "gold" and "cream" may be."""
_WORD = re.compile(r"(?<![\w#])(?:(?:rgb|hsl)\([^()]*\)(?!\w)|#?\w(?:[\w'’.]*\w)?)", re.IGNORECASE)


@dataclass(frozen=True)
class StandIns:
    """`sentence` as the model shall see it; `meant` maps each stand-in to the words in whose place it is."""

    sentence: str
    meant: dict[str, str] = field(default_factory=dict)

    def restored(self, answer_text: str) -> str:
        """The model's answer text with the words that the stand-ins are for."""
        if not self.meant:
            return answer_text
        return re.sub(rf"\b(?:{'|'.join(self.meant)})\b", lambda found: self.meant[found[0]], answer_text)


def with_stand_ins(sentence: str) -> StandIns:
    """The sentence with a basic colour word, the nearest that is free, for each colour that is none."""
    phrases = _phrases(sentence)
    rest = sentence
    for start, end in reversed(phrases):
        rest = f"{rest[:start]}·{rest[end:]}"
    free = [word for word in BASIC if not re.search(rf"\b{word}", rest, re.IGNORECASE)]
    meant: dict[str, str] = {}
    shown, done = "", 0
    for start, end in phrases[: len(free)]:
        phrase = sentence[start:end]
        stand_in = nearest_word(paint_of(phrase) or COLOURS["brown"], [word for word in free if word not in meant])
        meant[stand_in] = phrase
        shown, done = shown + sentence[done:start] + stand_in, end
    return StandIns(shown + sentence[done:], meant)


def _phrases(sentence: str) -> list[tuple[int, int]]:
    """Where the phrases for which a word shall stand begin and end, the longest first where they overlap."""
    words = list(_WORD.finditer(sentence))
    phrases, first = [], 0
    while first < len(words):
        ends = range(min(first + MAX_WORDS, len(words)) - 1, first - 1, -1)
        last = next((last for last in ends if _is_colour(sentence, words, first, last)), None)
        if last is not None:
            start, end = words[first].start(), words[last].end()
            unclosed = sentence[start:end].count("(") > sentence[start:end].count(")")
            phrases.append((start, end + unclosed * sentence[end:].startswith(")")))
            first = last
        first += 1
    return phrases


def _is_colour(sentence: str, words: list[re.Match[str]], first: int, last: int) -> bool:
    """Whether the words from `first` to `last` name a colour, or a material where only a colour would stand."""
    run = [word[0].lower() for word in words[first : last + 1]]
    phrase = sentence[words[first].start() : words[last].end()]
    if run[0] in FILLERS | FUNCTION_WORDS or run[-1] in FILLERS | FUNCTION_WORDS or (run[0] in BASIC and not run[1:]):
        return False
    if re.search(r"[^\s\w#(),.%-]|, (?!\d)", phrase):
        return False
    before = words[first - 1][0].lower() if first else ""
    if EXACT.search(phrase):
        number = before in ARTICLES and re.fullmatch(r"#\d{3}", phrase)  # "the #100 bus"
        return paint_of(phrase) is not None and not number
    after = words[last + 1][0].lower() if last + 1 < len(words) else ""
    ends = not after or after in CLAUSE_WORDS or not sentence[words[last].end() : words[last + 1].start()].isspace()
    only_colour = next((word in _ONLY_COLOURS for word in reversed(run) if word not in FINISHES), False)
    if before in ARTICLES:  # "paint the sky blue" has a thing there, "turn it a dark shade of green" a colour
        return before in ("a", "an") and only_colour and len(run) > 1 and ends and paint_of(phrase) is not None
    if before in _COLOURING and not {*SHADES, *FINISHES, *_ONLY_COLOURS} & {run[0]}:
        return False
    if only_colour:
        return paint_of(phrase) is not None
    asks = ends and before not in FUNCTION_WORDS and any(word[0].lower() in _COLOURING for word in words)
    return asks and (paint_of(phrase) is not None or is_material(run))
