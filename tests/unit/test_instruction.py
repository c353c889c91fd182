import pytest

from serving.errors import EditError
from serving.language.colours import COLOURS
from serving.language.instruction import Edit, caption, check_prompt, read_answer, with_article
from serving.language.referring import Referent, referent, strip_articles


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("car", Referent("car", None, None)),
        ("red car on the left", Referent("car", "red", "left")),
        ("the red car on the left side", Referent("car", "red", "left")),
        ("left-hand car", Referent("car", None, "left")),
        ("leftmost dog", Referent("dog", None, "left")),
        ("dog to the right", Referent("dog", None, "right")),
        ("right blue chair", Referent("chair", "blue", "right")),
        ("biggest dog", Referent("dog", None, "largest")),
        ("small white cat", Referent("cat", "white", "smallest")),
        ("lamp at the top", Referent("lamp", None, "top")),
        ("ball at the bottom", Referent("ball", None, "bottom")),
        ("cup in the middle", Referent("cup", None, "middle")),
        ("cup in the center", Referent("cup", None, "middle")),
        ("dark blue boat", Referent("boat", "blue", None)),
        ("very dark blue boat", Referent("boat", "blue", None)),
        ("sky blue umbrella on the left", Referent("umbrella", "blue", "left")),
        ("dark olive-green boat", Referent("boat", "green", None)),
        ("#C0392B car", Referent("car", "red", None)),
        ("red (#c0392b) car", Referent("car", "red", None)),
        ("rgb(20, 30, 200) car", Referent("car", "blue", None)),
        ("sky blue", Referent("sky", "blue", None)),
        ("#1 mug", Referent("#1 mug", None, None)),
        ("#100 bus", Referent("#100 bus", None, None)),
        ("black and white cat", Referent("cat", "black", None)),
        ("Red Car", Referent("car", "red", None)),
        ("orange", Referent("orange", None, None)),
        ("the orange on the right", Referent("orange", None, "right")),
        ("top of the table", Referent("top of the table", None, None)),
        ("zorblat next to the tree", Referent("zorblat next to the tree", None, None)),
    ],
)
def test_referent(phrase, expected):
    assert referent(phrase) == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Edit("replace", "car", "bicycle"), "a bicycle"),
        (Edit("replace", "car", "umbrella"), "an umbrella"),
        (Edit("replace", "car", "red boat"), "a red boat"),
        (Edit("replace", "car", "orange cat"), "an orange cat"),
        (Edit("replace", "car", "unicorn"), "a unicorn"),
        (Edit("replace", "car", "bus"), "a bus"),
        (Edit("replace", "car", "flowers"), "flowers"),
        (Edit("replace", "car", "two dogs"), "two dogs"),
        (Edit("replace", "car", "house with windows"), "a house with windows"),
        (Edit("recolour", "house", "blue"), "a blue house"),
        (Edit("recolour", "red house on the left", "dark blue"), "a dark blue house"),
        (Edit("recolour", "house", "#C0392B"), "a red house"),
        (Edit("recolour", "#C0392B house", "rgb(250, 140, 30)"), "an orange house"),
        (Edit("recolour", "house", "red (#C0392B)"), "a red house"),
        (Edit("recolour", "door", "sky blue"), "a sky blue door"),
        (Edit("recolour", "door", "wooden"), "a wooden door"),
        (Edit("replace", "car", "#c03 boat"), "a red boat"),
        (Edit("remove", "dog", ""), "empty background"),
    ],
)
def test_caption(edit, expected):
    assert caption(edit) == expected


def test_with_article_keeps_an_article_that_is_there():
    assert with_article("the boat") == "the boat"


def test_strip_articles_leaves_articles_inside():
    assert strip_articles("my the house on a hill") == "house on a hill"


def test_every_colour_is_a_triple_of_bytes():
    assert all(len(rgb) == 3 and all(0 <= value <= 255 for value in rgb) for rgb in COLOURS.values())


def test_check_prompt_makes_white_space_single():
    assert check_prompt("  replace the\n car\twith a boat ") == "replace the car with a boat"


@pytest.mark.parametrize("prompt", ["", "   \n", "x" * 1001, "replace the\x00 car", "replace \u202ethe\x1b car"])
def test_check_prompt_refuses(prompt):
    with pytest.raises(EditError) as error:
        check_prompt(prompt)
    assert error.value.name == "invalid_prompt"


def test_read_answer():
    answer = '{"intent": "replace", "target": "car", "replacement": "boat"}'
    assert read_answer(answer) == Edit("replace", "car", "boat")


@pytest.mark.parametrize("target", ["car's", "car’s", "car"])
def test_a_possessive_is_the_thing_itself(target):
    answer = f'{{"intent": "recolour", "target": "{target}", "replacement": "red"}}'
    assert read_answer(answer) == Edit("recolour", "car", "red")


def test_read_answer_none_is_not_an_edit():
    with pytest.raises(EditError, match=r"not_an_edit: .*Replace the car with a bicycle"):
        read_answer('{"intent": "none", "target": "", "replacement": ""}')
