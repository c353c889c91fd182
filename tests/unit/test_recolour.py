"""Another paint on an object, against the same picture drawn with that paint."""

import dataclasses

import numpy as np
import pytest

from export.demo import world
from serving.diffusion.assets import Assets
from serving.diffusion.inpaint import InpaintRequest, inpaint, result_of
from serving.diffusion.options import Options
from serving.imaging import recolour as module
from serving.imaging.paint import find_paint
from serving.imaging.picture import Picture
from serving.imaging.recolour import recolour
from serving.segmentation.edit_mask import edit_mask
from tests.unit.inpaint_release import Networks, write

SIDE, SCALE = 96, 4
WOOD, TYRE, GLASS, WALL = (122, 82, 50), (36, 36, 40), (188, 220, 236), (150, 160, 140)
PAINTS = {"red": (200, 40, 44), "blue": (40, 80, 200), "yellow": (240, 210, 50), "white": (236, 236, 232),
          "grey": (128, 130, 128), "black": (40, 40, 44)}  # fmt: skip


def drawn(paint, *, noise: float = 0.0):
    """A shaded disc of `paint` with a highlight, a tyre, a window and a post of wood; its mask, and that of the parts
    that are not painted. Edges are antialiased."""
    y, x = np.mgrid[0 : SIDE * SCALE, 0 : SIDE * SCALE] / SCALE
    picture = WALL + 20 * np.sin(x / 9)[..., None]
    light = (1.05 - 0.35 * np.hypot(x - 40, y - 34) / 60)[..., None]
    shine = 0.7 * np.exp(-np.square((np.hypot(x - 36, y - 30)) / 6))[..., None]
    body = np.hypot(x - 48, y - 44) < 34
    lit = np.minimum(light, 1) * np.array(paint, float)
    picture[body] = (lit + shine * (255 - lit))[body]
    parts = [(np.hypot(x - 48, y - 78) < 12, TYRE), (np.abs(x - 60) + np.abs(y - 42) < 10, GLASS),
             ((np.abs(x - 30) < 4) & (np.abs(y - 56) < 14), WOOD)]  # fmt: skip
    rest = np.zeros(y.shape, bool)
    for part, colour in parts:
        picture[part] = colour * light[part]
        rest |= part
    small = picture.reshape(SIDE, SCALE, SIDE, SCALE, 3).mean((1, 3))
    small += np.random.default_rng(0).normal(0, noise, small.shape) if noise else 0
    shares = [m.reshape(SIDE, SCALE, SIDE, SCALE).mean((1, 3)) for m in (body | rest, rest)]
    return np.rint(np.clip(small, 0, 255)).astype(np.float32), np.rint(shares[0] * 255).astype(np.uint8), shares[1] == 1


def psnr(one, other, where) -> float:
    return float(10 * np.log10(255**2 / np.square(one[where] - other[where]).mean()))


def correlation(one, other, where) -> float:
    slopes = (np.hypot(*np.gradient(image.mean(-1)))[where] for image in (one, other))
    return float(np.corrcoef(*slopes)[0, 1])


@pytest.mark.parametrize("old", PAINTS)
@pytest.mark.parametrize("new", PAINTS)
def test_the_result_is_the_picture_drawn_with_the_new_paint(old, new):
    (before, mask, rest), (truth, _, _) = drawn(PAINTS[old]), drawn(PAINTS[new])
    after, changed = recolour(before, mask, edit_mask(mask, "recolour"), PAINTS[new])
    paint = (mask > 0) & ~rest
    # black has 44 steps of 8 bits, and its highlight's foot is as well a lighter black
    assert psnr(after, truth, paint) > (15 if old == "black" else 21)
    assert correlation(after, truth, paint) > (0.65 if old == "black" else 0.9)
    # a grey tyre on a grey body is a shade of it: nobody could tell from the colours alone
    if old not in ("black", "grey", "white"):
        assert np.abs(after - before)[rest].mean() < 2
    assert not changed[edit_mask(mask, "recolour") == 0].any()


def test_paint_that_is_as_it_should_be_stays():
    before, mask, _ = drawn(PAINTS["red"])
    paint = find_paint(before, mask)
    after, _ = recolour(before, mask, mask, tuple(round(float(c)) for c in paint.colour))
    assert np.abs(after - before).max() <= 1


@pytest.mark.parametrize("old", ["red", "yellow", "white"])
def test_no_fringe_of_the_old_colour_is_left(old):
    (before, mask, _), (truth, _, _) = drawn(PAINTS[old]), drawn(PAINTS["blue"])
    after, _ = recolour(before, mask, edit_mask(mask, "recolour"), PAINTS["blue"])
    edge = (mask > 0) & (mask < 255)
    assert np.abs(after - truth)[edge].mean() < (0.4 if old == "white" else 0.2) * np.abs(before - truth)[edge].mean()


def test_noise_is_not_amplified():
    (before, mask, rest), (truth, _, _) = drawn(PAINTS["black"], noise=3), drawn(PAINTS["yellow"], noise=3)
    after, _ = recolour(before, mask, mask, PAINTS["yellow"])
    body = np.zeros(mask.shape, bool)
    body[50:60, 40:52] = True
    assert (after - truth)[body].std() < 14  # a factor alone makes 18 of it
    assert psnr(after, truth, (mask == 255) & ~rest) > 20


def test_pure_black_takes_a_colour():
    before, mask = np.full((40, 40, 3), 200, np.float32), np.zeros((40, 40), np.uint8)
    before[10:30, 10:30], mask[10:30, 10:30] = 0, 255
    after, changed = recolour(before, mask, mask, (200, 30, 40))
    np.testing.assert_allclose(after[12:28, 12:28], np.broadcast_to([200, 30, 40], (16, 16, 3)), atol=2)
    assert changed.sum() == 400


def test_strips_meet_without_a_seam(monkeypatch):
    before, mask, _ = drawn(PAINTS["red"], noise=2)
    whole, changed = recolour(before, mask, mask, PAINTS["white"])
    monkeypatch.setattr(module, "ROWS", 7)
    strips, again = recolour(before, mask, mask, PAINTS["white"])
    np.testing.assert_allclose(strips, whole, atol=1e-3)
    np.testing.assert_array_equal(again, changed)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_speck_is_recoloured_too(side):
    before, mask = np.full((32, 32, 3), 128, np.float32), np.zeros((32, 32), np.uint8)
    before[9 : 9 + side, 9 : 9 + side], mask[9 : 9 + side, 9 : 9 + side] = (200, 40, 40), 255
    after, changed = recolour(before, mask, mask, (40, 80, 200))
    assert changed.sum() == side * side
    assert np.abs(after - (40, 80, 200))[changed].max() < 12


@pytest.mark.parametrize("seed", range(700_000, 700_006))
def test_a_scene_is_as_if_drawn_with_the_new_paint(seed):
    plan = world.plan(seed, count=1)
    size = (360, round(360 / plan.aspect))
    new = PAINTS["blue" if plan.things[0].colour != "blue" else "yellow"]
    scene = world.draw(plan, size)
    truth = world.draw(dataclasses.replace(plan, things=(dataclasses.replace(plan.things[0], paint=new),)), size)
    before, mask = scene.image.astype(np.float32), scene.things[0].mask
    after, _ = recolour(before, mask, edit_mask(mask, "recolour"), new)
    assert psnr(after, truth.image, mask > 0) > 22
    assert correlation(after, truth.image.astype(float), mask > 127) > 0.93


def edited(picture: Picture, mask: np.ndarray, folder, paint) -> Picture:
    write(folder)
    options = Options(seed=1, num_inference_steps=4, guidance_scale=1.0)
    request = InpaintRequest(picture, edit_mask(mask, "recolour"), "a ball", options, mask, paint)
    result = result_of(inpaint(Assets.read(folder), Networks().infer, request))
    assert result.background_difference == 0
    outside = result.blended_mask == 0
    np.testing.assert_array_equal(result.images[0].pixels[outside], picture.pixels[outside])
    return result.images[0]


def test_grey_pictures_stay_grey_with_all_their_bits(tmp_path):
    before, mask, _ = drawn(PAINTS["white"])
    fine = np.rint(before.mean(-1, keepdims=True) * 257).astype(np.uint16)
    fine[30:50, 36:44] = (50_000 + 3 * np.arange(20))[:, None, None]  # steps that 8 bits do not have
    deep = edited(Picture("I;16", fine), mask, tmp_path, PAINTS["red"])
    grey = edited(Picture("L", before.mean(-1, keepdims=True).astype(np.uint8)), mask, tmp_path, PAINTS["red"])
    assert (deep.mode, grey.mode) == ("I;16", "L")
    assert len(np.unique(deep.pixels[32:48, 38:42])) >= 10  # of 16; 8 bits have one
    np.testing.assert_allclose(deep.pixels[56:60, 44:52] / 257, grey.pixels[56:60, 44:52], atol=2)
    assert grey.pixels[58, 48, 0] < 110 < before[58, 48, 0]


def test_a_cut_out_keeps_its_opacity_and_what_is_invisible(tmp_path):
    before, mask, _ = drawn(PAINTS["red"])
    hidden = before.astype(np.uint8)
    hidden[mask == 0] = PAINTS["red"]
    picture = Picture("RGBA", np.dstack([hidden, mask]))
    after = edited(picture, np.full_like(mask, 255), tmp_path, PAINTS["blue"])
    np.testing.assert_array_equal(after.pixels[..., 3], mask)
    np.testing.assert_array_equal(after.pixels[mask == 0], picture.pixels[mask == 0])
    assert after.pixels[58, 48, 2] > after.pixels[58, 48, 0]
    edge = (mask > 40) & (mask < 200)
    edge[64:] = False  # the tyre's
    assert (after.pixels[edge][:, 2] > after.pixels[edge][:, 0]).mean() > 0.9


def test_palette_pictures_get_the_colour_into_their_palette(tmp_path):
    before, mask, _ = drawn(PAINTS["red"])
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    colours, indices = np.unique((before // 64 * 64).astype(np.uint8).reshape(-1, 3), axis=0, return_inverse=True)
    palette[: len(colours), :3] = colours
    picture = Picture("P", indices.reshape(SIDE, SIDE, 1).astype(np.uint8), palette)
    after = edited(picture, mask, tmp_path, PAINTS["blue"])
    red, _, blue = after.rgb()[58, 48].astype(int)
    assert blue > red + 40
