"""What a phrase that names a thing means: its noun, colour, place and landmark."""

import re
from dataclasses import dataclass

from serving.language.colours import COLOURS, FILLERS, in_plain_words, paint_of

ARTICLES = frozenset("the a an this that these those my your our his her its their some any another".split())

_SIDES = {
    "left": r"(?:(?:on|at|to) (?:the |my )?)?(?:far )?left(?:[- ]?(?:hand|most))?(?: (?:side|one|corner))?",
    "right": r"(?:(?:on|at|to) (?:the |my )?)?(?:far )?right(?:[- ]?(?:hand|most))?(?: (?:side|one|corner))?",
    "top": r"(?:(?:on|at) (?:the )?top|in the top corner|topmost|top|upper(?:most)?)(?! of\b)",
    "bottom": r"(?:(?:on|at) (?:the )?bottom|bottom(?:most)?|lower(?:most)?)(?! of\b)",
    "middle": r"(?:in|at) (?:the )?(?:middle|cent(?:re|er))|middle|cent(?:re|er)|central",
    "largest": r"(?:largest|biggest|larger|bigger|large|big|huge|giant)",
    "smallest": r"(?:smallest|littlest|smaller|tiniest|small|little|tiny)",
}

_RELATION = re.compile(
    r"^(?P<head>.+?) (?:next to|close to|near|beside|by|behind|under|above|below|in front of|on top of|in|on)"
    r" (?:the|a|an|my|your) (?!(?:far |very )?(?:left|right|top|bottom|upper|lower|middle|cent|front|back|fore|corner))"
    r"(?P<landmark>.+)$"
)


@dataclass(frozen=True)
class Referent:
    """The object that a phrase means: `side` is a key of the words left, right, top, …, smallest."""

    noun: str
    colour: str | None
    side: str | None


def part_landmark(phrase: str) -> tuple[str, str]:
    """A phrase and the thing that it gives as a landmark: "dog next to the red car" -> "dog", "red car"."""
    found = _RELATION.match(" ".join(phrase.lower().split()))
    return (found["head"], found["landmark"]) if found else (phrase, "")


def referent(phrase: str) -> Referent:
    """The noun, colour and side of a target phrase: "red car on the left" -> car, red, left.

    Words that are neither stay in the noun; so does a word that would otherwise leave no noun ("the orange").
    """
    rest = strip_articles(in_plain_words(" ".join(phrase.lower().split())))
    side = None
    for name, pattern in _SIDES.items():
        without = " ".join(re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", " ", rest, count=1).split())
        if without != rest and strip_articles(without):
            rest, side = strip_articles(without), name
            break
    colour = None
    words = "|".join(COLOURS)
    if found := re.search(rf"\b({words})(?: and (?:{words}))*\b", rest):
        for start in _starts(rest, found):
            if without := " ".join((rest[:start] + rest[found.end() :]).split()):
                rest, colour = without, found[1]
                break
    return Referent(rest, colour, side)


def _starts(phrase: str, colour: re.Match[str]) -> list[int]:
    """Where the colour's name may start, the longest first: "dark olive green boat" -> at dark, olive, green."""
    starts = [colour.start()]
    for word in reversed(list(re.finditer(r"[^\s-]+", phrase[: colour.start()]))):
        if word[0] in FILLERS or paint_of(phrase[word.start() : colour.end(1)]) is None:
            break
        starts.insert(0, word.start())
    return starts


def strip_articles(phrase: str) -> str:
    """The phrase without the articles and possessives that it starts with."""
    words = phrase.split()
    while words and words[0].lower() in ARTICLES:
        words = words[1:]
    return " ".join(words)
