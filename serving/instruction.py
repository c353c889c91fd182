"""What a sentence asks for: the edit, the object that it names, and the caption of what shall be drawn."""

import json
import re
import unicodedata
from dataclasses import dataclass

from serving.errors import EditError

INTENTS = ("replace", "recolour", "remove", "none")

MAX_PROMPT_CHARS = 1000

ARTICLES = frozenset("the a an this that these those my your our his her its their some any another".split())

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (240, 130, 30),
    "yellow": (245, 210, 50),
    "green": (50, 150, 70),
    "blue": (45, 95, 205),
    "purple": (130, 65, 170),
    "white": (245, 245, 245),
    "black": (30, 30, 30),
    "pink": (240, 130, 180),
    "brown": (120, 75, 45),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "violet": (140, 80, 200),
    "turquoise": (60, 200, 190),
    "cyan": (40, 200, 220),
    "magenta": (210, 50, 160),
    "beige": (225, 210, 175),
    "golden": (212, 165, 45),
    "silver": (190, 192, 196),
    "maroon": (110, 25, 35),
    "navy": (25, 35, 95),
    "teal": (20, 120, 125),
}
"""RGB of the colour words that an object can be picked by, 0 … 255."""

_SHADES = "light|dark|bright|pale|deep"

_SIDES = {
    "left": r"(?:(?:on|at|to) (?:the |my )?)?(?:far )?left(?:[- ]?(?:hand|most))?(?: (?:side|one|corner))?",
    "right": r"(?:(?:on|at|to) (?:the |my )?)?(?:far )?right(?:[- ]?(?:hand|most))?(?: (?:side|one|corner))?",
    "top": r"(?:(?:on|at) (?:the )?top|in the top corner|topmost|top|upper(?:most)?)(?! of\b)",
    "bottom": r"(?:(?:on|at) (?:the )?bottom|bottom(?:most)?|lower(?:most)?)(?! of\b)",
    "middle": r"(?:in|at) (?:the )?(?:middle|cent(?:re|er))|middle|cent(?:re|er)|central",
    "largest": r"(?:largest|biggest|larger|bigger|large|big|huge|giant)",
    "smallest": r"(?:smallest|littlest|smaller|tiniest|small|little|tiny)",
}

_EXAMPLE = 'Say what to change, for example "Replace the car with a bicycle".'


@dataclass(frozen=True)
class Edit:
    """An edit in the sentence's own words, articles left off: `replacement` is "" for remove."""

    intent: str
    target: str
    replacement: str


@dataclass(frozen=True)
class Referent:
    """The object that a phrase means: `side` is a key of the words left, right, top, …, smallest."""

    noun: str
    colour: str | None
    side: str | None


def check_prompt(prompt: str, max_chars: int = MAX_PROMPT_CHARS) -> str:
    """The sentence, white space made single; EditError invalid_prompt when nobody could act on it."""
    if len(prompt) > max_chars:
        raise EditError(
            "invalid_prompt",
            f"the prompt has {len(prompt)} characters; send one sentence of up to {max_chars}.",
        )
    sentence = " ".join(prompt.split())
    if not sentence:
        raise EditError("invalid_prompt", f"the prompt is empty. {_EXAMPLE}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co") for character in sentence):
        raise EditError("invalid_prompt", "the prompt holds control characters; send plain text.")
    return sentence


def read_answer(answer: str) -> Edit:
    """The edit in the language model's JSON; EditError not_an_edit when the intent is none."""
    edit = Edit(**json.loads(answer))
    if edit.intent == "none":
        raise EditError("not_an_edit", f"the sentence names nothing to replace, recolour or remove. {_EXAMPLE}")
    return edit


def referent(phrase: str) -> Referent:
    """The noun, colour and side of a target phrase: "red car on the left" -> car, red, left.

    Words that are neither stay in the noun; so does a word that would otherwise leave no noun ("the orange").
    """
    rest = strip_articles(" ".join(phrase.lower().split()))
    side = None
    for name, pattern in _SIDES.items():
        without = " ".join(re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", " ", rest, count=1).split())
        if without != rest and strip_articles(without):
            rest, side = strip_articles(without), name
            break
    colour = None
    words = "|".join(COLOURS)
    pattern = rf"\b(?:(?:{_SHADES}) )?({words})(?: and (?:{words}))*\b"
    if found := re.search(pattern, rest):
        without = " ".join((rest[: found.start()] + rest[found.end() :]).split())
        if without:
            rest, colour = without, found[1]
    return Referent(rest, colour, side)


def strip_articles(phrase: str) -> str:
    """The phrase without the articles and possessives that it starts with."""
    words = phrase.split()
    while words and words[0].lower() in ARTICLES:
        words = words[1:]
    return " ".join(words)


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an", unless it starts with an article, a number or its noun is a plural."""
    first, head = phrase.split()[0].lower(), re.split(r" (?:with|of|in|on) ", phrase)[0].split()[-1].lower()
    plural = re.search(r"(?<![sui])s$", head) is not None
    if first in ARTICLES or first[0].isdigit() or plural:
        return phrase
    vowel = re.match(r"[aeiou]", first) and not re.match(r"(?:uni(?!n)|use|uk|eu|one\b|once\b)", first)
    return f"{'an' if vowel or re.match(r'(?:hour|honest|heir)', first) else 'a'} {phrase}"


def caption(edit: Edit) -> str:
    """What the diffusion model shall draw in the mask: "a bicycle", "a blue house", "empty background"."""
    if edit.intent == "remove":
        return "empty background"
    if edit.intent == "recolour":
        return with_article(f"{edit.replacement} {referent(edit.target).noun}")
    return with_article(edit.replacement)
