import pytest

from serving.language.colours import BASIC, COLOURS, SHADES, nearest_word, paint_of
from serving.language.oklab import oklab, srgb

RED = (192, 57, 43)


@pytest.mark.parametrize(
    "phrase",
    [
        "#C0392B", "#c0392b", "c0392b", "C0392B", "hex c0392b", "hex code #c0392b", "rgb(192, 57, 43)",
        "RGB(192,57,43)", "red #C0392B", "red (#c0392b)", "#C0392B red", "the colour #C0392B", "matte #C0392B",
    ],
)  # fmt: skip
def test_an_exact_value_is_that_colour(phrase):
    assert paint_of(phrase) == RED


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("#c03", (204, 0, 51)), ("#000", (0, 0, 0)), ("hex 000000", (0, 0, 0)), ("hsl(0, 100%, 50%)", (255, 0, 0)),
        ("Red", COLOURS["red"]), ("the colour red", COLOURS["red"]), ("red-coloured", COLOURS["red"]),
        ("metallic blue", COLOURS["blue"]), ("a nice shade of blue", COLOURS["blue"]), ("gray", COLOURS["grey"]),
        ("sky blue", (135, 206, 235)), ("sky-blue", (135, 206, 235)), ("skyblue", (135, 206, 235)),
        ("olive green", (107, 125, 50)), ("navy blue", COLOURS["navy"]), ("tomato red", (255, 99, 71)),
        ("British racing green", (11, 66, 40)), ("slate gray", (96, 108, 120)),
    ],
)  # fmt: skip
def test_a_name_is_its_paint(phrase, expected):
    assert paint_of(phrase) == expected


@pytest.mark.parametrize(
    "phrase",
    [
        "wooden", "leather", "striped", "rainbow", "two-tone", "brown leather", "striped red", "red stripes",
        "blue and white", "blue or green", "dark", "light", "neon", "darker", "", "a", "-", "transparent", "old",
        "facade", "decade", "123456", "#1", "#1 mug", "#12", "#C0392B and white", "#C0392BF", "rgb(300, 0, 0)",
        "hsl(0, 0%, 120%)", "&#8217;", "snow", "brick", "the colour of the sky",
    ],
)  # fmt: skip
def test_what_is_no_plain_colour_has_no_paint(phrase):
    assert paint_of(phrase) is None


def lightness_and_chroma(phrase):
    lightness, a, b = oklab(paint_of(phrase))
    return lightness, (a * a + b * b) ** 0.5


@pytest.mark.parametrize("word", ["red", "green", "blue", "brown", "purple"])
def test_shades_are_on_their_side_of_the_colour(word):
    lightness, chroma = lightness_and_chroma(word)
    assert lightness_and_chroma(f"very dark {word}") < lightness_and_chroma(f"dark {word}") < (lightness,)
    assert (lightness,) < lightness_and_chroma(f"light {word}") < lightness_and_chroma(f"pale {word}")
    assert lightness_and_chroma(f"bright {word}")[1] > chroma > lightness_and_chroma(f"dull {word}")[1]
    assert paint_of(f"dark{word}") == paint_of(f"dark-{word}") == paint_of(f"a dark shade of {word}")


@pytest.mark.parametrize("shade", SHADES)
@pytest.mark.parametrize("word", BASIC)
def test_every_shade_of_every_colour_can_be_shown(shade, word):
    assert all(0 <= value <= 255 for value in paint_of(f"{shade} {word}"))


def test_shades_of_grey_stay_grey():
    assert all(len(set(paint_of(f"{shade} grey"))) == 1 for shade in SHADES)


def test_a_mixture_lies_between_its_colours():
    (_, green, blue), hues = paint_of("blue-green"), (COLOURS["blue"], COLOURS["green"])
    assert min(c[1] for c in hues) < green < max(c[1] for c in hues)
    assert min(c[2] for c in hues) < blue < max(c[2] for c in hues)
    brown, reddish = COLOURS["brown"], paint_of("reddish brown")
    assert reddish[0] > brown[0]
    assert nearest_word(reddish) == "brown"


@pytest.mark.parametrize("rgb", [RED, (0, 0, 0), (255, 255, 255), (12, 200, 90), (1, 2, 250)])
def test_oklab_and_back(rgb):
    assert srgb(*oklab(rgb)) == rgb


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("#C0392B", "red"), ("dark green", "green"), ("#8B4513", "brown"), ("teal", "green"), ("navy", "blue"),
        ("sky blue", "blue"), ("pale pink", "pink"), ("light grey", "white"), ("charcoal", "black"),
        ("#808080", "grey"), *((word, word) for word in BASIC),
    ],
)  # fmt: skip
def test_nearest_word(phrase, expected):
    assert nearest_word(paint_of(phrase)) == expected
