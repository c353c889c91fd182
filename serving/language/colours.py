"""Colours as people write them: words, shades, mixtures and exact values, and what each is in sRGB."""

import math
import re
from collections.abc import Callable, Sequence

from PIL import ImageColor

from serving.language.oklab import Rgb, oklab, srgb

COLOURS: dict[str, Rgb] = {
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
GREYISH = 0.03
"""Chroma in Oklab below which a colour has no hue to speak of."""
ALIKE = 0.3
"""Distance, where names are told apart, within which two names may be of one colour."""
BASIC = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "grey", "white")
"""The basic colour terms (Berlin and Kay 1969): every model knows them, and two of them name a mixture."""

_SHADED = ("dark", "light", "medium", "pale")
_PAINTS = {
    "amber": "#FFB200", "anthracite": "#383E42", "apple green": "#7DB83A", "apricot": "#FBBA82",
    "army green": "#4B5320", "aubergine": "#472C4C", "baby blue": "#A4CFF0", "baby pink": "#F4C2C6",
    "berry": "#8E2A5B", "blood red": "#8A0A10", "blush": "#E8B4B0", "bone white": "#E3DAC9", "bordeaux": "#6D1A2D",
    "bottle green": "#0F4D3A", "brick red": "#A84432", "british racing green": "#0B4228", "bronze": "#A9713A",
    "bubblegum": "#FFA0C5", "burgundy": "#731C32", "burnt orange": "#BF5515", "burnt sienna": "#8A3F25",
    "burnt umber": "#5A3225", "camel": "#B98D5B", "canary": "#FFEB57", "caramel": "#B5713A", "cerise": "#D6336C",
    "cerulean": "#2A7FB8", "champagne": "#EBD9B9", "charcoal": "#36393D", "cherry": "#B3142F", "chestnut": "#7B3F2B",
    "claret": "#7A1F35", "cobalt": "#1546A0", "coffee": "#5C4033", "copper": "#B5673B", "cream": "#F6EED5",
    "denim blue": "#3D5F8F", "ebony black": "#2A2524", "ecru": "#CDBE9B", "eggplant": "#472C4C",
    "eggshell": "#F0EAD6", "electric blue": "#1F51FF", "emerald": "#1F9A5F", "fire engine red": "#CE2029",
    "flamingo": "#F78FA7", "gold": "#D4A52D", "golden brown": "#9A6420", "golden yellow": "#F5B921",
    "graphite": "#44474A", "grass green": "#4C9A2A", "gunmetal": "#4A5258", "hazel": "#8E7648",
    "hunter green": "#355E3B", "ice blue": "#C4E4F2", "ink blue": "#1C2233", "jade": "#2E9B73",
    "jet black": "#101012", "lemon": "#F9E547", "lilac": "#C3A2CE", "lime": "#B2D732", "mahogany brown": "#6B2D20",
    "mauve": "#A97FA5", "mint": "#A3DDBE", "moss green": "#6E7A3A", "mustard": "#D3A12A", "nude": "#E0BFA3",
    "ochre": "#C58331", "off white": "#F3EFE4", "olive green": "#6B7D32", "oxblood": "#5A1A1E",
    "pea green": "#8EAA3A", "peach": "#FBC4A0", "pearl white": "#EDE9DF", "periwinkle": "#9BA4DD",
    "petrol": "#155E6B", "pine green": "#22573F", "pistachio": "#A9C77F", "pitch black": "#0C0C0E",
    "platinum": "#D9D8D4", "prussian blue": "#10304F", "pumpkin": "#E5731D", "racing green": "#0B4228",
    "raspberry": "#B8225A", "rose": "#DD5C7E", "rose gold": "#C98A80", "royal purple": "#5B3A9B", "ruby": "#9E1632",
    "rust": "#A6481F", "saffron": "#F2B529", "sage": "#9CAD8B", "sand": "#D9C49A", "sapphire": "#1B4B9B",
    "scarlet": "#D32416", "sea foam": "#9FE0C1", "sepia": "#704A2B", "slate grey": "#606C78", "snow white": "#F8F8FA",
    "steel grey": "#7A8791", "straw yellow": "#E2CD76", "strawberry": "#E0445A", "sunshine yellow": "#FFDF3A",
    "tangerine": "#F28522", "taupe": "#8B7D6F", "terracotta": "#C1623F", "ultramarine": "#22339B", "umber": "#635147",
    "vanilla": "#F3E5AB", "vermilion": "#DA3A22", "walnut brown": "#5D4431", "wine": "#6A1B33",
}  # fmt: skip
"""As paints are named, beside CSS. A material has the colour's word with it: "make the house brick" is none."""
_MATERIALS = {"burlywood", "linen", "snow", "wheat", "seashell"}


def _joined(name: str) -> str:
    """A name as the table has it: one word, British."""
    return re.sub(r"[\s-]+", "", name.lower()).replace("gray", "grey")


_NAMES: dict[str, Rgb] = {
    # CSS's shades are left to SHADES: its darkgrey is lighter than its grey.
    **{
        _joined(n): ImageColor.getrgb(n)[:3]
        for n in ImageColor.colormap
        if not n.startswith(_SHADED) and n not in _MATERIALS
    },
    **{_joined(name): ImageColor.getrgb(value)[:3] for name, value in _PAINTS.items()},
    **{_joined(name): rgb for name, rgb in COLOURS.items()},
}

EXACT = re.compile(
    r"(?<![\w#&])(?:hex(?: ?code)? )?#(?:[0-9a-f]{6}|[0-9a-f]{3})(?!\w)"
    r"|(?<![\w#&])hex(?: ?code)? [0-9a-f]{6}(?!\w)"
    r"|(?<![\w#&])(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{6}(?!\w)"
    r"|(?<!\w)(?:rgb|hsl)\(\s*[\d.]+%?\s*,\s*[\d.]+%?\s*,\s*[\d.]+%?\s*\)",
    re.IGNORECASE,
)
"""An exact value. Without its mark it has six digits and both kinds of them: "facade" and "123456" are none."""
_EXACT_WITH_WORD = re.compile(  # "#100 bus" has a number
    rf"(?!#\d{{3}} \w)(?:\b(?:{'|'.join(COLOURS)}) \(?)?(?:{EXACT.pattern})\)?",
    re.IGNORECASE,
)
FILLERS = frozenset("a an the in of to colour color coloured colored shade tone hue tint paint painted all one".split())
FINISHES = frozenset(
    "matte matt glossy gloss shiny metallic satin medium solid plain pure classic nice lovely warm cool".split()
)
"""Words beside a colour that do not change its paint."""


def paint_of(phrase: str) -> Rgb | None:
    """The sRGB, 0 … 255, of a phrase that names one plain colour; None for all else, "wooden" or "striped".

    Words ("olive green"), shades ("dark green", "pale sky-blue"), mixtures ("blue-green", "reddish brown") and exact
    values ("#C0392B", "#c03", "c0392b", "rgb(192, 57, 43)"). An exact value beside a word is the one meant.
    """
    if exact := EXACT.search(phrase):
        words = _words(phrase[: exact.start()] + " " + phrase[exact.end() :])
        return _exact(exact[0]) if not words or _of_words(words) else None
    words = _words(phrase)
    return _of_words(words) if words else None


def nearest_word(rgb: Rgb, words: Sequence[str] = BASIC) -> str:
    """The one of `words`, keys of COLOURS, that people would call the colour by."""
    alike = [word for word in words if _greyish(COLOURS[word]) == _greyish(rgb)]
    return min(alike or words, key=lambda word: math.dist(_naming(rgb), _naming(COLOURS[word])))


def in_plain_words(phrase: str) -> str:
    """The phrase with the nearest word for an exact value and a colour before it: "red #C0392B car" -> "red car"."""
    return _EXACT_WITH_WORD.sub(lambda found: nearest_word(paint_of(found[0]) or COLOURS["grey"]), phrase)


def _greyish(rgb: Rgb) -> bool:
    return math.hypot(*oklab(rgb)[1:]) < GREYISH


def _naming(rgb: Rgb) -> tuple[float, float, float]:
    """Where names are told apart: Oklab, in which a little chroma counts for much and lightness for less."""
    lightness, a, b = oklab(rgb)
    stretch = max(math.hypot(a, b), 1e-3) ** -0.5
    return 0.8 * lightness, a * stretch, b * stretch


def _exact(text: str) -> Rgb | None:
    digits = re.sub(r"^hex(?: ?code)? ", "", text.lower()).replace(" ", "")
    try:
        red, green, blue = ImageColor.getrgb(digits if re.match(r"#|rgb|hsl", digits) else f"#{digits}")[:3]
    except ValueError:
        return None
    return (red, green, blue) if 0 <= min(red, green, blue) <= max(red, green, blue) <= 255 else None


def _words(phrase: str) -> list[str]:
    words = re.sub(r"[\s\-()\"'“”‘’]+", " ", phrase.lower()).replace("gray", "grey").strip(" ,.;:!?").split()
    return [word for word in words if word not in FILLERS | FINISHES]


def _of_words(words: list[str]) -> Rgb | None:
    """The colour of a run of words: a name, a shade of a colour, or a mixture of two."""
    if rgb := _NAMES.get("".join(words)):
        return rgb
    first = words[0]
    if len(words) == 1:
        if first.endswith("ish"):
            return _tinted(first)
        prefix = next((name for name in SHADES if first.startswith(name) and first[len(name) :] in _NAMES), None)
        return shaded(prefix, _NAMES[first[len(prefix) :]]) if prefix else None
    if first == "very" and words[1] in SHADES:
        rgb = _of_words(words[1:])
        return shaded(words[1], rgb) if rgb else None
    if first in SHADES:
        rgb = _of_words(words[1:])
        return shaded(first, rgb) if rgb else None
    if first.endswith("ish"):
        tint, rgb = _tinted(first), _of_words(words[1:])
        return _mixed(rgb, tint, 0.3) if rgb and tint else None
    return _of_two_names(words)


def _of_two_names(words: list[str]) -> Rgb | None:
    """ "blue-green" lies between the two, "navy blue" and "tomato red" are the first, "cream red" is nothing."""
    for cut in range(len(words) - 1, 0, -1):
        head, tail = _NAMES.get("".join(words[:cut])), _NAMES.get("".join(words[cut:]))
        if head and tail:
            if words[0] not in BASIC and math.dist(_naming(head), _naming(tail)) < ALIKE:
                return head
            return _mixed(head, tail, 0.5) if words[0] in COLOURS else None
    return None


def _tinted(word: str) -> Rgb | None:
    """ "greenish", "reddish", "bluish", "purplish": the colour that it leans to."""
    stem = word.removesuffix("ish")
    return next((COLOURS[name] for name in (stem, stem + "e", stem[:-1]) if name in COLOURS), None)


Shade = Callable[[float, float, float], tuple[float, float]]
"""Lightness, chroma and hue of a colour in Oklab -> lightness and chroma of its shade."""


def _lighter(share: float, chroma: float) -> Shade:
    return lambda lightness, c, hue: (lightness + share * (0.97 - lightness), c * chroma)


def _darker(factor: float, chroma: float) -> Shade:
    return lambda lightness, c, hue: (lightness * factor, c * chroma)


def _neon(lightness: float, chroma: float, hue: float) -> tuple[float, float]:
    """The strongest colour of its hue that a screen shows."""
    if chroma < GREYISH:
        return lightness, chroma
    strongest = max((level / 50 for level in range(20, 50)), key=lambda level: _chroma_within(level, 0.4, hue))
    return strongest, 0.4


SHADES: dict[str, Shade] = {
    **dict.fromkeys(("light", "lighter"), _lighter(0.5, 0.7)),
    **dict.fromkeys(("pale", "soft", "faint"), _lighter(0.7, 0.45)),
    "pastel": lambda lightness, c, hue: (0.87 + 0.1 * (lightness - 0.6), min(c, 0.075)),
    **dict.fromkeys(("dark", "darker"), _darker(0.66, 0.8)),
    "deep": _darker(0.8, 1.15),
    **dict.fromkeys(("bright", "vivid", "vibrant", "intense"), lambda lightness, c, hue: (lightness + 0.06, c * 1.3)),
    **dict.fromkeys(("neon", "fluorescent", "electric"), _neon),
    **dict.fromkeys(("dull", "muted", "faded", "dusty"), lambda lightness, c, hue: (lightness, c * 0.5)),
}
"""What a shade does to a colour: about how far apart people name them."""


def shaded(shade: str, rgb: Rgb) -> Rgb:
    """A colour in one of SHADES."""
    lightness, a, b = oklab(rgb)
    hue = math.atan2(b, a)
    lightness, chroma = SHADES[shade](lightness, math.hypot(a, b), hue)
    lightness = min(max(lightness, 0.0), 1.0)
    chroma = _chroma_within(lightness, chroma, hue)
    return srgb(lightness, chroma * math.cos(hue), chroma * math.sin(hue)) or rgb


def _chroma_within(lightness: float, chroma: float, hue: float) -> float:
    """The largest chroma up to `chroma` that sRGB has at this lightness and hue."""
    while chroma > 1e-3 and srgb(lightness, chroma * math.cos(hue), chroma * math.sin(hue)) is None:
        chroma *= 0.97
    return chroma


def _mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    lab = [x + share * (y - x) for x, y in zip(oklab(one), oklab(other), strict=True)]
    return srgb(*lab) or one
