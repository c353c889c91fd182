"""Materials and patterns that a thing can be told to have, and the colour that each has of itself."""

from serving.language.colours import SHADES, paint_of, shaded
from serving.language.oklab import Rgb

MATERIALS: dict[str, Rgb | None] = {
    **dict.fromkeys(("wood", "wooden", "oak", "timber"), (160, 112, 66)),
    **dict.fromkeys(("pine", "birch", "plywood"), (206, 168, 118)),
    **dict.fromkeys(("walnut", "mahogany", "teak"), (104, 64, 42)),
    **dict.fromkeys(("bamboo", "rattan", "wicker", "straw"), (204, 168, 108)),
    **dict.fromkeys(("cork", "cardboard", "sandstone"), (188, 148, 104)),
    **dict.fromkeys(("leather", "suede"), (118, 74, 46)),
    **dict.fromkeys(("brick", "bricks", "clay"), (166, 82, 60)),
    **dict.fromkeys(("stone", "rock", "concrete", "cement"), (156, 152, 146)),
    **dict.fromkeys(("granite", "slate"), (112, 114, 118)),
    **dict.fromkeys(("marble", "porcelain", "ceramic", "plaster", "paper"), (236, 233, 226)),
    **dict.fromkeys(("steel", "metal", "metallic", "iron", "chrome", "aluminium", "aluminum", "tin"), (158, 163, 170)),
    **dict.fromkeys(("rusty", "rusted"), (150, 82, 46)),
    "brass": (188, 156, 78),
    "denim": (70, 96, 138),
    "rubber": (44, 44, 48),
    # These have any colour, several, or none.
    **dict.fromkeys("checked checkered floral plaid polka-dot rainbow spotted striped tartan two-tone".split()),
    **dict.fromkeys("crystal fabric fluffy furry glass knitted plastic tiled transparent velvet woollen".split()),
}  # fmt: skip


def is_material(words: list[str]) -> bool:
    """Whether the words, in lower case, are a material or a pattern, or one with its colour: "brown leather"."""
    return words[-1] in MATERIALS and (
        not words[1:] or words[0] in SHADES or paint_of(" ".join(words[:-1])) is not None
    )


def material_paint(phrase: str) -> Rgb | None:
    """The colour, 0 … 255, of the first material in a phrase, "dark wood" or "white marble"; None where it has none."""
    words = phrase.lower().split()
    found = next((at for at, word in enumerate(words) if word in MATERIALS), None)
    if found is None:
        return None
    rgb, before = MATERIALS[words[found]], " ".join(words[:found])
    if colour := paint_of(before):
        return colour
    return shaded(words[found - 1], rgb) if rgb and found and words[found - 1] in SHADES else rgb
