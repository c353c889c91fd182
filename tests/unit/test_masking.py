"""The mask step's geometry: regions, the words that pick one, clean edges, and the masks of edits."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from serving.errors import EditError
from serving.imaging.colour import colour_name
from serving.imaging.guided_filter import guided_filter
from serving.imaging.picture import Picture
from serving.language.colours import COLOURS
from serving.language.referring import Referent, part_landmark
from serving.segmentation.edit_mask import NARROWEST, WIDEST, bounds, edit_mask, loosened
from serving.segmentation.grounding import choose, colour_match, split
from serving.segmentation.refine import rejoin
from serving.segmentation.regions import find_regions, region
from serving.segmentation.segmenter import Masker, Settings, fit, thumbnail


def disc(h: int, w: int, x: float, y: float, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[:h, :w]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def test_what_touches_at_a_corner_is_one_region():
    probability = np.zeros((60, 80), np.float32)
    probability[10:20, 10:20] = probability[20:30, 20:30] = 0.9
    probability[40:50, 60:70] = 0.9
    boxes = [region.box for region in find_regions(probability, 0.5)]
    assert boxes == [(10, 10, 30, 30), (60, 40, 70, 50)]


def test_no_region_in_an_empty_map():
    assert find_regions(np.zeros((5, 7)), 0.5) == []


def test_crumbs_join_the_thing_beside_them_and_specks_are_dropped():
    probability = np.zeros((200, 300), np.float32)
    probability[50:100, 50:100] = 0.9
    probability[104:112, 60:68] = 0.8
    probability[150, 250] = 1.0
    probability[20:40, 200:220] = 0.7
    first, second = find_regions(probability, 0.5)
    assert first.box == (50, 50, 100, 112)
    assert second.box == (200, 20, 220, 40)
    assert second.score == pytest.approx(0.7)


def test_pieces_that_a_closer_look_connects_are_one_thing():
    probability = np.zeros((100, 100), np.float32)
    probability[10:40, 30:60] = probability[50:70, 40:50] = probability[50:70, 80:90] = 0.9
    shade, *feet = find_regions(probability, 0.5)
    look = probability.copy()
    look[38:55, 44:46] = 0.8
    assert [each.box for each in rejoin([shade, *feet], [look], 0.5)] == [(30, 10, 60, 70), (80, 50, 90, 70)]
    assert rejoin([shade, *feet], [probability], 0.5) == [shade, *feet]


def test_guided_filter_moves_a_coarse_edge_to_the_pictures_edge():
    truth = disc(120, 160, 80, 60, 35)
    guide = np.where(truth[..., None], [204, 51, 51], [77, 153, 77]).astype(np.uint8)
    coarse = np.asarray(Image.fromarray((truth * 255).astype(np.uint8)).resize((10, 8)).resize((160, 120)))
    filtered = guided_filter(guide, coarse.astype(np.float32) / 255, 10)
    wrong = [int(((values > half) != truth).sum()) for values, half in ((coarse, 127), (filtered, 0.5))]
    assert wrong[1] < 0.35 * wrong[0]
    assert filtered.min() >= 0
    assert filtered.max() <= 1


def test_guided_filter_of_a_flat_guide_is_a_blur():
    values = np.random.default_rng(1).random((40, 50)).astype(np.float32)
    filtered = guided_filter(np.full((40, 50, 3), 102, np.uint8), values, 3)
    assert filtered.std() < 0.3 * values.std()
    assert filtered.mean() == pytest.approx(values.mean(), abs=0.02)


@pytest.mark.parametrize("radius", [2, 6, 12, 30])
def test_guided_filter_reaches_no_farther_on_a_coarser_grid(radius):
    values = np.zeros((40, 240), np.float32)
    values[:, 120:] = 1
    filtered = guided_filter(np.full((40, 240, 3), 102, np.uint8), values, radius)
    reach = 2 * radius + 4
    assert filtered[:, : 120 - reach].max() < 0.01
    assert filtered[:, 120 + reach :].min() > 0.99
    assert 0.05 < filtered[20, 120 - radius // 2] < 0.5


def scene(*discs: tuple[int, int, int, str]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A picture of discs (x, y, radius, colour), the map of them all, and one map for each colour."""
    pixels, everything = np.full((150, 200, 3), (90, 140, 90), np.uint8), np.zeros((150, 200), np.float32)
    coloured = {colour: np.zeros((150, 200), np.float32) for colour in COLOURS}
    for x, y, radius, colour in discs:
        spot = disc(150, 200, x, y, radius)
        pixels[spot], everything[spot], coloured[colour][spot] = COLOURS[colour], 0.9, 0.9
    return pixels, everything, coloured


@pytest.mark.parametrize(
    ("colour", "side", "wanted"),
    [
        (None, None, 100),
        (None, "left", 30),
        (None, "right", 165),
        (None, "middle", 100),
        (None, "top", 165),
        (None, "bottom", 30),
        (None, "largest", 100),
        (None, "smallest", 165),
        ("blue", None, 165),
        ("red", "left", 30),
        ("red", "right", 100),
    ],
)
def test_the_words_pick_the_thing(colour, side, wanted):
    pixels, everything, coloured = scene((30, 120, 20, "red"), (100, 80, 28, "red"), (165, 40, 15, "blue"))
    regions = find_regions(everything, 0.5)
    chosen = choose(regions, Referent("ball", colour, side), coloured.get(colour, everything), pixels, 0.5)
    assert chosen.middle[0] == pytest.approx(wanted, abs=1)


def test_a_colour_that_is_not_there_is_not_found_and_the_message_names_those_that_are():
    pixels, everything, coloured = scene((40, 60, 20, "red"), (140, 60, 20, "white"))
    with pytest.raises(EditError, match=r"none that is blue.*a red one, a white one") as caught:
        choose(find_regions(everything, 0.5), Referent("ball", "blue", None), coloured["blue"], pixels, 0.5)
    assert caught.value.name == "object_not_found"


def test_a_landmark_picks_the_thing_beside_it():
    pixels, everything, coloured = scene((30, 60, 20, "red"), (120, 60, 24, "red"), (175, 60, 10, "blue"))
    balls, landmarks = find_regions(coloured["red"], 0.5), find_regions(coloured["blue"], 0.5)
    assert choose(balls, Referent("ball", None, None), everything, pixels, 0.5, landmarks).middle[0] > 100


@pytest.mark.parametrize(
    ("phrase", "parts"),
    [
        ("dog next to the red car", ("dog", "red car")),
        ("the cup on my table", ("the cup", "table")),
        ("car on the left", ("car on the left", "")),
        ("lamp in the middle", ("lamp in the middle", "")),
        ("onion", ("onion", "")),
    ],
)
def test_landmarks_are_told_from_sides(phrase, parts):
    assert part_landmark(phrase) == parts


def test_touching_things_of_two_colours_are_split():
    _, everything, coloured = scene((60, 70, 25, "red"), (105, 70, 25, "blue"))
    (whole,) = find_regions(everything, 0.5)
    part, rest = split(whole, coloured["blue"], 0.5)
    assert part.middle[0] == pytest.approx(105, abs=3)
    assert rest.middle[0] == pytest.approx(60, abs=3)
    assert split(whole, everything, 0.5) == [whole]


@pytest.mark.parametrize("colour", ["red", "orange", "yellow", "green", "blue", "purple", "white", "black"])
def test_pixels_name_their_colour_in_light_and_shade(colour):
    shades = [np.clip(np.array([COLOURS[colour]]) * gain, 0, 255).astype(np.uint8) for gain in (0.85, 1.0, 1.05)]
    assert colour_name(np.concatenate(shades), COLOURS) in (colour, {"purple": "violet"}.get(colour))
    pixels = np.repeat(np.concatenate(shades), 30, 0)[:64].reshape(8, 8, 3)
    match = colour_match(region(np.ones((8, 8), bool), np.ones((8, 8))), colour, np.zeros((8, 8)), pixels)
    assert match > 0.2


OBJECT = np.asarray(disc(240, 320, 150, 130, 40) * 255, np.uint8)


@pytest.mark.parametrize("intent", ["", "recolour", "remove", "replace"])
def test_an_edit_mask_covers_the_object_and_leaves_what_is_far(intent):
    mask = edit_mask(OBJECT, intent)
    assert mask.dtype == np.uint8
    assert mask.shape == OBJECT.shape
    assert (mask >= OBJECT).all()
    assert mask[:40].max() == mask[-15:].max() == mask[:, :60].max() == mask[:, -60:].max() == 0


def test_without_an_intent_the_mask_is_the_outline():
    assert (edit_mask(OBJECT, "") == OBJECT).all()


def test_a_recolour_grows_by_a_few_soft_pixels():
    mask = edit_mask(OBJECT, "recolour")
    assert bounds(mask)[2] - bounds(OBJECT)[2] in (2, 3)
    assert ((mask > 0) & (mask < 255)).sum() > 200
    assert mask[130, 200] == 0


def test_removal_holds_the_shadow_and_replacement_is_looser():
    removal, replacement = bounds(edit_mask(OBJECT, "remove")), bounds(edit_mask(OBJECT, "replace"))
    x0, y0, x1, y1 = bounds(OBJECT)
    assert removal[3] >= y1 + 0.12 * (y1 - y0)
    assert replacement[0] < removal[0] < x0
    assert replacement[1] < removal[1] < y0
    assert replacement[2] > removal[2] > x1


@pytest.mark.parametrize("box", [(10, 10, 30, 100), (10, 50, 200, 80), (40, 40, 90, 95)])
def test_a_replacements_box_has_room_for_another_shape(box):
    x0, y0, x1, y1 = loosened(box)
    assert NARROWEST - 1e-6 <= (x1 - x0) / (y1 - y0) <= WIDEST + 1e-6
    assert x0 <= box[0] - 0.1 * (box[2] - box[0]) + 1e-6
    assert (y1 - box[3]) / (y1 - y0) == pytest.approx(0.115)
    assert box[1] - y0 >= 0.1 * (box[3] - box[1]) - 1e-6


def test_an_edit_spares_its_neighbour_of_the_same_name():
    other = disc(120, 160, 100, 65, 20)
    mask = edit_mask(OBJECT, "replace", other)
    assert mask[130, 205] < 20
    assert edit_mask(OBJECT, "replace")[130, 190] == 255
    assert (mask >= OBJECT).all()


def test_an_object_at_the_border_is_covered_to_the_border():
    corner = np.zeros((100, 100), np.uint8)
    corner[70:, :30] = 255
    assert edit_mask(corner, "replace")[70:, :30].min() == 255


def test_masks_of_large_pictures_are_made_at_a_limited_size():
    mask = np.zeros((3000, 4000), np.uint8)
    mask[1000:2500, 800:3000] = 255
    grown = edit_mask(mask, "replace")
    assert grown[1000:2500, 800:3000].min() == 255
    assert bounds(grown)[2] == pytest.approx(3220, abs=8)


def test_thumbnail_shrinks_in_bands_as_it_does_at_once():
    pixels = np.random.default_rng(2).integers(0, 256, (2100, 3100, 3), np.uint8)
    small = thumbnail(Picture("RGB", pixels))
    assert small.shape == (700, 1034, 3)
    assert (small == np.asarray(Image.fromarray(pixels).reduce(3))).all()


@pytest.mark.parametrize("size", [(8192, 32), (32, 8192), (320, 320), (33, 32)])
def test_fit_keeps_the_aspect_and_one_pixel(size):
    width, height = fit(size, 320)
    assert 1 <= min(width, height)
    assert max(width, height) <= 320


@pytest.fixture
def masker(tmp_path):
    return write_masker(tmp_path)


def write_masker(folder: Path) -> Masker:
    tokenizer = Tokenizer(WordLevel({"<pad>": 0, "ball": 1, "red": 2, "?": 3}, "?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = Settings(96, (0.5,) * 3, (0.25,) * 3, 4, 0, 0, 0, 0.5, "{}")
    (folder / "mask.json").write_text(json.dumps(vars(settings)))
    return Masker(folder)


def redness(pixels: np.ndarray, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """A segmenter that finds what is red, and nothing when asked for a word that it does not know."""
    colours = pixels * 0.25 + 0.5
    return 30 * (colours[:, 0] - colours[:, 1:].max(1) - 0.3) - 60 * (ids == 3).any(1)[:, None, None]


@pytest.mark.parametrize("size", [(300, 200), (32, 700), (2500, 300), (64, 64)])
def test_a_mask_has_the_pictures_size_and_clean_edges(masker, size):
    image = Image.new("RGB", size, (90, 140, 90))
    w, h = size
    box = [w * 0.3, h * 0.4, w * 0.7, h * 0.8]
    ImageDraw.Draw(image).ellipse(box, fill=(220, 30, 30))
    truth = Image.new("L", size)
    ImageDraw.Draw(truth).ellipse(box, fill=255)
    found = masker.find(Picture("RGB", np.asarray(image)), "the red ball", redness)
    got, wanted = found.object_mask >= 128, np.asarray(truth) >= 128
    assert found.object_mask.shape == (h, w)
    assert (got & wanted).sum() / (got | wanted).sum() > 0.93
    assert 0.5 < found.score <= 1


def coarse_redness(pixels: np.ndarray, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """`redness` on a map of 12 px a side, as a network of large patches gives it."""
    return redness(pixels, ids, attention).reshape(len(pixels), 12, 8, 12, 8).mean((2, 4))


def test_a_small_thing_is_outlined_from_near(masker):
    pixels = np.full((600, 800, 3), (90, 140, 90), np.uint8)
    truth = disc(600, 800, 300, 250, 60)
    pixels[truth] = (220, 30, 30)
    found = masker.find(Picture("RGB", pixels), "ball", coarse_redness)
    got = found.object_mask >= 128
    assert (got & truth).sum() / (got | truth).sum() > 0.93


def test_what_a_closer_look_denies_is_not_found(masker):
    def from_afar(pixels: np.ndarray, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
        red = redness(pixels, ids, attention)
        far = (red > 0).mean((1, 2)) < 0.1  # the thing is a small part of the whole picture
        return np.where(far[:, None, None], red, -5.0)

    pixels = np.full((600, 800, 3), (90, 140, 90), np.uint8)
    pixels[disc(600, 800, 300, 250, 60)] = (220, 30, 30)
    with pytest.raises(EditError, match=r"found no 'ball' .*best score 0\.0.*at 2\d\d,1\d\d to 3\d\d,3") as caught:
        masker.find(Picture("RGB", pixels), "ball", from_afar)
    assert caught.value.name == "object_not_found"


def test_nothing_found_says_what_was_looked_for_and_the_scores(masker):
    picture = Picture("RGB", np.full((64, 64, 3), 200, np.uint8))
    with pytest.raises(EditError, match=r"found no 'unicorn' .*best score 0\.\d\d, needed 0\.50") as caught:
        masker.find(picture, "unicorn", redness)
    assert caught.value.name == "object_not_found"


def test_a_thing_is_known_by_its_last_word(masker):
    pixels = np.full((90, 90, 3), 100, np.uint8)
    pixels[20:60, 30:70] = (220, 30, 30)
    found = masker.find(Picture("RGB", pixels), "shiny red ball", redness)
    assert bounds(found.object_mask) == pytest.approx((30, 20, 70, 60), abs=2)


def test_a_phrase_without_a_noun_is_refused(masker):
    with pytest.raises(EditError, match="invalid_option"):
        masker.find(Picture("RGB", np.zeros((64, 64, 3), np.uint8)), " the ", redness)


def test_a_long_phrase_is_cut_to_the_context(masker):
    ids, attention = masker.tokens(["ball " * 50, "ball"])
    assert ids.shape == attention.shape == (2, 4)
    assert attention.sum(1).tolist() == [4, 1]


def test_unknown_settings_are_refused(tmp_path):
    (tmp_path / "mask.json").write_text('{"size": 96, "colour": 1}')
    with pytest.raises(ValueError, match=r"unknown settings in mask\.json colour"):
        Settings.read(tmp_path / "mask.json")
