import pytest

from serving.language.colours import COLOURS, nearest_word, paint_of
from serving.language.materials import MATERIALS, is_material, material_paint
from serving.language.oklab import oklab


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("wooden", MATERIALS["wood"]), ("Wooden", MATERIALS["wood"]), ("solid oak", MATERIALS["oak"]),
        ("brown leather", COLOURS["brown"]), ("red and white striped", None), ("striped", None), ("glass", None),
        ("red plaid", COLOURS["red"]), ("unheard of", None), ("", None),
    ],
)  # fmt: skip
def test_the_paint_of_a_material_is_its_own_or_the_one_named_with_it(phrase, expected):
    assert material_paint(phrase) == expected


def test_a_shade_of_a_material():
    assert oklab(material_paint("dark wood"))[0] < oklab(MATERIALS["wood"])[0]
    assert nearest_word(material_paint("dark wood")) == "brown"


@pytest.mark.parametrize("material", MATERIALS)
def test_no_material_is_a_colour(material):
    assert paint_of(material) is None
    assert is_material([material])


def test_a_material_with_its_colour():
    assert is_material(["dark", "brown", "leather"])
    assert is_material(["dark", "wood"])
    assert not is_material(["old", "leather"])
    assert not is_material(["leather", "boots"])
