"""What a sentence asks for: the edit, the object that it names, and the caption of what shall be drawn."""

import json
import re
import unicodedata
from dataclasses import dataclass, replace

from serving.errors import EditError
from serving.intents import INTENTS, MAX_PROMPT_CHARS, NO_EDIT
from serving.language.colours import in_plain_words
from serving.language.referring import ARTICLES, referent

_EXAMPLE = 'Say what to change, for example "Replace the car with a bicycle".'


@dataclass(frozen=True)
class Edit:
    """An edit in the sentence's own words, articles left off: `replacement` is "" for remove."""

    intent: str
    target: str
    replacement: str


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


def read_answer(answer_text: str) -> Edit:
    """The edit in the language model's JSON; EditError not_an_edit when the intent is none."""
    edit = Edit(**json.loads(answer_text))
    edit = replace(edit, target=re.sub(r"(?<=\w)['’]s$", "", edit.target))  # "change the car's colour"
    if edit.intent == NO_EDIT:
        *others, last = INTENTS
        known = f"{', '.join(others)} or {last}"
        raise EditError("not_an_edit", f"the sentence names nothing to {known}. {_EXAMPLE}")
    return edit


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
    given = {"replacement": in_plain_words(edit.replacement), "noun": referent(edit.target).noun}
    text = INTENTS[edit.intent].caption.format(**given)
    return with_article(text) if edit.replacement else text
