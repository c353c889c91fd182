"""Shadows are found with their objects, on drawn scenes whose truth is known and on floors made to mislead."""

import numpy as np
import pytest

from export.demo import world
from serving.imaging.picture import Picture
from serving.segmentation.edit_mask import edit_mask, edit_masks
from serving.segmentation.shadow import cast_shadow

GREY = np.array([150, 144, 138], np.float32)
NOBODY = np.zeros((60, 90), bool)
SQUARE = np.zeros((120, 180), np.uint8)
SQUARE[30:80, 70:110] = 255


def floor(shadow: np.ndarray | None = None) -> np.ndarray:
    """A blue square on a grey floor with some texture, float [120, 180, 3], darkened by the factor `shadow`."""
    texture = np.random.default_rng(3).normal(0, 2, (120, 180, 1))
    image = (GREY + texture) * (1 if shadow is None else shadow[..., None])
    image[SQUARE > 0] = (40, 60, 200)
    return image


def ellipse(x: float, y: float, wide: float, high: float) -> np.ndarray:
    """How far inside an ellipse, [120, 180]: 1 in the middle, 0 at its edge, below that outside."""
    ys, xs = np.mgrid[:120, :180]
    return 1 - ((xs - x) / wide) ** 2 - ((ys - y) / high) ** 2


def found(image: np.ndarray, others: np.ndarray = NOBODY) -> np.ndarray:
    picture = Picture("RGB", np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return (cast_shadow(picture, SQUARE, others) >= 128) & (SQUARE == 0)


def test_shadows_of_drawn_things_are_found_and_little_else():
    missed, false = [], []
    for seed in range(world.HELD_OUT, world.HELD_OUT + 12):
        planned = world.plan(seed)
        size = (360, round(360 / planned.aspect))
        scene, thing = world.draw(planned, size), world.draw(planned, size).things[-1]
        gone = world.draw(planned.without(len(scene.things) - 1), size).image
        darker = np.clip(gone.astype(int) - scene.image, 0, None).sum(-1) * (thing.mask == 0)
        shadow = cast_shadow(Picture("RGB", scene.image), thing.mask, NOBODY) / 255
        missed.append((darker * (1 - shadow)).sum() / darker.sum())
        false.append(((shadow > 0.5) & (darker == 0) & (thing.mask == 0)).sum() / (thing.mask > 127).sum())
    assert np.median(missed) < 0.02
    assert np.mean(missed) < 0.12
    assert np.mean(false) < 0.15


@pytest.mark.parametrize("factor", [0.35, 0.6, 0.85])
@pytest.mark.parametrize("at", [(90, 80, 26, 7), (108, 78, 29, 7)], ids=["below", "to the side"])
def test_a_shadow_at_the_foot_is_found(factor, at):
    inside = np.clip(3 * ellipse(*at), 0, 1)
    shadow = found(floor(1 - (1 - factor) * inside))
    outside = (inside > 0.2) & (SQUARE == 0)
    assert shadow[outside].mean() > 0.8
    assert (shadow & (inside == 0)).sum() < 0.4 * (SQUARE > 0).sum()


@pytest.mark.parametrize(
    "colours", [(GREY, GREY), (GREY, 1.15 * GREY), (GREY, (150, 90, 60))], ids=["plain", "gradient", "another colour"]
)
def test_without_a_shadow_there_is_none(colours):
    down = np.linspace(0, 1, 120)[:, None, None]
    image = floor()
    ground = np.asarray(colours[0]) * (1 - down) + np.asarray(colours[1]) * down
    image = np.where((SQUARE > 0)[..., None], image, image - GREY + ground)
    assert not found(image).any()


@pytest.mark.parametrize("side", [10, 20, 30])
def test_a_tile_of_a_floor_is_no_shadow(side):
    ys, xs = np.mgrid[:120, :180]
    assert not found(floor(np.where((xs // side + ys // side) % 2, 1.0, 0.6))).any()


def test_another_thing_at_the_foot_is_not_swallowed():
    image, thing = floor(), ellipse(95, 95, 16, 15) > 0
    image[thing] = (60, 120, 40)
    assert found(image)[thing].mean() < 0.1
    dark = floor()
    dark[thing] = 0.6 * GREY
    assert found(dark)[thing].mean() > 0.8
    assert not found(dark, thing)[thing].any()


def test_far_shadows_are_another_things():
    assert not found(floor(1 - 0.5 * (ellipse(150, 90, 15, 6) > 0))).any()


def test_nothing_casts_no_shadow():
    picture = Picture("RGB", np.full((40, 50, 3), 90, np.uint8))
    assert not cast_shadow(picture, np.zeros((40, 50), np.uint8), NOBODY).any()
    assert not cast_shadow(picture, np.full((40, 50), 255, np.uint8), NOBODY).any()


def test_a_shadow_goes_where_its_object_goes():
    inside = ellipse(108, 78, 29, 7) > 0
    picture = Picture("RGB", floor(np.where(inside, 0.6, 1.0)).astype(np.uint8))
    spot = inside & (SQUARE == 0)
    for intent in ("remove", "replace"):
        mask, old = edit_masks(picture, SQUARE, NOBODY, intent)
        assert mask[spot].mean() > 245
        assert old[spot].mean() > 245
        assert (mask >= edit_mask(SQUARE, intent)).all()
    for intent in ("recolour", ""):
        mask, old = edit_masks(picture, SQUARE, NOBODY, intent)
        assert (old == SQUARE).all()
        assert (mask == edit_mask(SQUARE, intent)).all()
