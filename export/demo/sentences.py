"""The sentence world: seeded sentences, each with the edit that it asks for.

Nouns are known words, compounds and made-up words, so that a model trained here learns to copy what stands in the
right place rather than to recognise a vocabulary. Held-out sentences use templates and nouns of their own.
"""

import random
import re
from functools import cache
from pathlib import Path

from export.demo import words
from serving.language.grammar import FUNCTION_WORDS
from serving.language.instruction import Edit

INTENT_SHARES = {"replace": 0.45, "recolour": 0.18, "remove": 0.17, "none": 0.20}
VERBS = """
    replace swap switch change turn make exchange substitute put use place draw paint show add transform
    convert morph trade remove take delete get edit imagine pretend have let find cover color colour recolor
    recolour dye tint shade spray set give render repaint erase wipe cut clear drop lose hide rub eliminate
    leave exclude throw clean scrub dispose describe explain tell look zoom count move rotate flip crop keep
    stop play do
"""
IMPERATIVE = re.compile(rf"(?!let there|give me)(?:{'|'.join(VERBS.split())})\b")
"""What "could you" and the like may stand before; other templates take only greetings and "please"."""
OPEN, CLOSE = "\ue000", "\ue001"
"""Private-use characters that mark a slot's words while a sentence is put together."""


@cache
def _templates() -> dict[str, list[str]]:
    """Sections of templates.txt by name: "replace", "held_out replace", …, "prefixes", "suffixes"."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in Path(__file__).with_name("templates.txt").read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            current = sections.setdefault(header[1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return sections


def sentence(rng: random.Random, *, held_out: bool = False) -> tuple[str, Edit | None]:
    """One sentence and its edit; None for a sentence that asks for no edit."""
    intent = rng.choices(list(INTENT_SHARES), list(INTENT_SHARES.values()))[0]
    return _compose(rng, intent, _target(rng, held_out), _replacement(rng, held_out), held_out=held_out)


def held_out(n: int, seed: int) -> list[tuple[str, Edit | None]]:
    """`n` sentences from templates and nouns that training never sees."""
    rng = random.Random(f"held out {seed}")
    return [sentence(rng, held_out=True) for _ in range(n)]


def edit_sentence(
    rng: random.Random, target: str, replacement: str = "", *, intent: str = "replace", held_out: bool = True
) -> tuple[str, Edit]:
    """A sentence that asks for one given edit: "red car on the left", "boat" -> "swap the red car on … for a boat".

    For "recolour" the replacement is a colour; for "remove" it is not used.
    """
    text, edit = _compose(rng, intent, target, replacement, held_out=held_out, colour=replacement)
    if edit is None:
        raise ValueError(f"{intent!r} is no intent of an edit")
    return text, edit


def _compose(
    rng: random.Random, intent: str, target: str, replacement: str, *, held_out: bool, colour: str = ""
) -> tuple[str, Edit | None]:
    sections = _templates()
    template = _typo(rng, _template(rng, intent, held_out), 0.06 if held_out else 0.15)
    prefixes = sections["held_out prefixes"] + sections["prefixes"] if held_out else sections["prefixes"]
    if not IMPERATIVE.match(template):
        prefixes = [prefix for prefix in prefixes if prefix.endswith((",", "please", "now"))]
    if rng.random() < (0.15 if intent == "none" else 0.4):
        template = f"{rng.choice(prefixes)} {template}"
    if rng.random() < (0.1 if intent == "none" else 0.2):
        template = f"{template} {rng.choice(sections['suffixes'])}".replace(" ,", ",")
    fillers = {
        "T": lambda: _with_article(rng, target, "the", 0.86),
        "R": lambda: _with_article(rng, replacement, "a", 0.86),
        "A": lambda: _with_article(rng, replacement, "a", 1.0),
        "C": lambda: OPEN + "C" + (colour or _colour(rng)) + CLOSE,
        "D": lambda: _colour(rng),
        "N": lambda: _noun(rng, held_out),
    }
    if intent == "none":  # several things may be named in one sentence
        fillers["T"] = lambda: _with_article(rng, _target(rng, held_out), "the", 0.9)
        fillers["R"] = fillers["A"] = lambda: _with_article(rng, _replacement(rng, held_out), "a", 0.97)
    text = re.sub(r"\{([TRACDN])\}", lambda slot: fillers[slot[1]](), template)
    text = _finish(rng, text)
    spans = dict(re.findall(f"{OPEN}(.)(.*?){CLOSE}", text))
    plain = re.sub(f"{OPEN}.|{CLOSE}", "", text)
    if intent == "none":
        return plain, None
    # Casing may have changed the slot's own letter.
    spans = {key.upper(): value for key, value in spans.items()}
    return plain, Edit(intent, spans["T"], spans.get("C" if intent == "recolour" else "R", ""))


def _template(rng: random.Random, intent: str, held_out: bool) -> str:
    """A template of the intent, its alternatives decided; never a held-out one unless asked."""
    sections = _templates()
    if held_out:
        return rng.choice(sections[f"held_out {intent}"])
    while True:
        # A line with more alternatives stands for more sentences.
        line = rng.choices(sections[intent], [1 + line.count("|") for line in sections[intent]])[0]
        line = re.sub(r"\(([^()]*)\)", lambda choice: rng.choice(choice[1].split("|")), line)
        template = " ".join(line.replace(" ,", ",").split())
        if template.replace("{A}", "{R}").replace(",", "") not in _plain(intent):
            return template


@cache
def _plain(intent: str) -> frozenset[str]:
    """The held-out templates as training must not show them, in whatever punctuation and article."""
    return frozenset(line.replace("{A}", "{R}").replace(",", "") for line in _templates()[f"held_out {intent}"])


def _with_article(rng: random.Random, phrase: str, article: str, share: float) -> str:
    """The phrase marked for reading back, after its usual article or, now and then, another or none."""
    slot = f"{OPEN}{'T' if article == 'the' else 'R'}{phrase}{CLOSE}"
    indefinite = "an" if phrase[0].lower() in "aeiou" else "a"
    if rng.random() < share:
        return f"{'the' if article == 'the' else indefinite} {slot}"
    others = ("that", "this", "my", "our", indefinite, "", "") if article == "the" else ("the", "some", "my", "", "")
    return f"{rng.choice(others)} {slot}".strip()


def _target(rng: random.Random, held_out: bool) -> str:
    phrase = _described(rng, held_out)
    chance = rng.random()
    if chance < 0.10:
        return f"{rng.choice(words.SIDE_PREFIXES)} {phrase}"
    if chance < 0.27:
        return f"{phrase} {rng.choice(words.SIDE_SUFFIXES).replace('{N}', _noun(rng, held_out))}"
    return phrase


def _replacement(rng: random.Random, held_out: bool) -> str:
    phrase = _described(rng, held_out)
    chance = rng.random()
    if chance < 0.04:
        return f"{phrase} with a {rng.choice(words.ADJECTIVES)} {_noun(rng, held_out)}"
    if chance < 0.07:
        return f"{phrase} of {_noun(rng, held_out)}s"
    return phrase


def _described(rng: random.Random, held_out: bool) -> str:
    """A noun, now and then with an adjective and a colour before it."""
    parts = [_noun(rng, held_out)]
    if rng.random() < 0.22:
        parts.insert(0, _colour(rng))
    if rng.random() < 0.14:
        parts.insert(0, rng.choice(words.ADJECTIVES))
    return " ".join(parts)


def _colour(rng: random.Random) -> str:
    shade = f"{rng.choice(words.SHADES)} " if rng.random() < 0.1 else ""
    return shade + rng.choice(words.COLOUR_WORDS)


def _noun(rng: random.Random, held_out: bool) -> str:
    if held_out:
        compound = rng.random() < 0.2
        return (rng.choice(words.HELD_OUT_MODIFIERS) + " " if compound else "") + rng.choice(words.HELD_OUT_NOUNS)
    chance = rng.random()
    if chance < 0.12:
        return rng.choice(words.KIND_NOUNS)
    if chance < 0.38:
        return rng.choice(words.NOUNS)
    if chance < 0.65:
        return _made_up(rng)
    first = rng.choice((rng.choice(words.MODIFIERS), rng.choice(words.NOUNS), _made_up(rng), _made_up(rng)))
    return f"{first} {rng.choice((rng.choice(words.NOUNS), _made_up(rng)))}"


def _made_up(rng: random.Random) -> str:
    """A word that is in no dictionary: syllables ("brolit"), or pieces of two known words ("helicurtain")."""
    word = _syllables(rng) if rng.random() < 0.5 else _spliced(rng)
    return word if word not in _taken() else _made_up(rng)


@cache
def _taken() -> frozenset[str]:
    """Words that made-up ones must not hit."""
    return frozenset((*words.HELD_OUT_NOUNS, *words.HELD_OUT_MODIFIERS, *FUNCTION_WORDS))


def _spliced(rng: random.Random) -> str:
    first, second = rng.choice(words.NOUNS + words.MODIFIERS), rng.choice(words.NOUNS + words.ADJECTIVES)
    return first[: rng.randint(2, 5)] + second[-rng.randint(2, 5) :]


def _syllables(rng: random.Random) -> str:
    onsets = "b c d f g h j k l m n p r s t v w z br ch cr dr fl gl gr pl sc sh sl sn st str th tr wh qu".split()
    vowels = "a e i o u a e i o u ai ea ee oo ou".split()
    codas = "b d g k l m n p r s t x ck ll nd ng nt rd rk rt ss st sh th er le on".split()
    syllables = rng.choice((1, 2, 2, 2, 3))
    body = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(syllables))
    return body + (rng.choice(codas) if rng.random() < 0.75 else "")


def _typo(rng: random.Random, template: str, share: float) -> str:
    """In a share of cases, one letter of one word of the template dropped, doubled or swapped with the next."""
    candidates = list(re.finditer(r"[a-z]{5,}", template))
    if not candidates or rng.random() > share:
        return template
    place = rng.choice(candidates)
    at = rng.randrange(place.start() + 1, place.end() - 1)
    before, letter, following, after = template[:at], template[at], template[at + 1], template[at + 2 :]
    return before + rng.choice((following, letter + letter + following, following + letter)) + after


def _finish(rng: random.Random, text: str) -> str:
    """The casing and the end that people give a sentence."""
    chance = rng.random()
    if chance < 0.55:
        first = re.search(rf"(?<!{OPEN})[a-zA-Z]", text)
        if first:
            text = text[: first.start()] + text[first.start()].upper() + text[first.end() :]
    elif chance < 0.85:
        text = text.lower()
    elif chance < 0.86:
        text = text.upper()
    return text + rng.choice(("", "", "", ".", ".", ".", "!", "?"))
