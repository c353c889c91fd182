"""Cropping, compositing and the request's options, on pictures of every shape; the networks are in parity."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serving.diffusion.denoise import noise_sampler
from serving.diffusion.options import Options
from serving.diffusion.pipeline import guided_unet, latent_hole
from serving.errors import EditError
from serving.imaging.composite import background_difference, changed_part, feather, match_colours, paste
from serving.imaging.crop import MAX_OBJECT_SHARE, OBJECT_SHARE, Canvas, choose_crop
from serving.imaging.morphology import dilate, erode, fill_holes, gaussian_blur, laplace_fill, reconstruct, window_mean
from serving.imaging.picture import Picture
from serving.steps.report import merged, read_report

MODEL = 128
CHOICES = {
    "seed": 1,
    "num_inference_steps": 20,
    "guidance_scale": 5.0,
    "negative_prompt": "",
    "num_images": 1,
}


def landscape(width: int, height: int) -> Picture:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [128 + 90 * np.sin(x / 40 + c) * np.cos(y / (50 + 9 * c)) for c in range(3)]
    return Picture("RGB", np.stack(waves, -1).astype(np.uint8))


def rectangle(width: int, height: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = 255
    return mask


def random_rectangles(count: int):
    rng = np.random.default_rng(1)
    for _ in range(count):
        width, height = (int(2 ** rng.uniform(5, 10)) for _ in range(2))
        x0, y0 = rng.integers(0, width), rng.integers(0, height)
        x1, y1 = rng.integers(x0, width) + 1, rng.integers(y0, height) + 1
        yield width, height, rectangle(width, height, x0, y0, x1, y1)


def test_a_crop_holds_the_whole_mask_and_stays_inside_where_it_fits():
    for width, height, mask in random_rectangles(200):
        crop = choose_crop(mask, MODEL)
        x0, y0, x1, y1 = crop.box
        outside = mask.copy()
        outside[y0:y1, x0:x1] = 0
        assert not outside.any()
        if crop.side <= min(width, height):
            assert (x1 - x0, y1 - y0) == (crop.side, crop.side)
            assert crop.window == (0, 0, MODEL, MODEL)
        ys, xs = np.nonzero(mask)
        share = max(np.ptp(ys), np.ptp(xs)) + 1
        if crop.side > MODEL // 4:
            assert share / crop.side <= MAX_OBJECT_SHARE + 1e-6 or math.isclose(crop.side, share / MAX_OBJECT_SHARE)


def test_an_object_takes_its_share_of_the_crop():
    crop = choose_crop(rectangle(700, 500, 300, 200, 360, 290), MODEL)
    assert math.isclose(90 / crop.side, OBJECT_SHARE, rel_tol=0.02)


def test_a_soft_edge_does_not_shrink_the_object_but_is_inside():
    mask = rectangle(700, 500, 300, 200, 360, 290)
    mask[290:400, 300:360] = 40
    crop = choose_crop(mask, MODEL)
    assert crop.side == 200
    assert crop.box[3] >= 400


def test_an_empty_mask_is_an_error():
    with pytest.raises(EditError, match="nothing to replace"):
        choose_crop(np.zeros((64, 64), np.uint8), MODEL)


@pytest.mark.parametrize(("width", "height", "spot"), [
    (32, 32, (0, 0, 32, 32)),
    (32, 32, (31, 31, 32, 32)),
    (32, 8192, (0, 0, 32, 8192)),
    (8192, 32, (4000, 10, 4400, 20)),
    (8192, 33, (8191, 0, 8192, 33)),
    (1000, 700, (0, 300, 5, 400)),
    (1000, 700, (0, 0, 1000, 700)),
    (1000, 700, (200, 350, 900, 351)),
    (257, 391, (100, 100, 220, 300)),
])  # fmt: skip
@pytest.mark.parametrize("soft", [True, False])
def test_any_shape_is_exact_outside_the_mask(width, height, spot, soft):
    picture, mask = landscape(width, height), rectangle(width, height, *spot)
    if soft:
        mask = np.rint(gaussian_blur(mask.astype(np.float32), 2)).astype(np.uint8) * (mask > 0)
    crop = choose_crop(mask, MODEL)
    canvas = crop.cut(picture, mask)
    assert canvas.image.shape == (MODEL, MODEL, 3)
    generated = match_colours(np.full((MODEL, MODEL, 3), 77, np.float32), canvas)
    blend = feather(np.ones((MODEL, MODEL), np.float32), canvas, mask, crop)
    result = paste(picture, generated, blend, crop)
    assert result.size == (width, height)
    assert background_difference(picture, result, mask) == 0
    np.testing.assert_array_equal(result.pixels[mask == 0], picture.pixels[mask == 0])
    x0, y0, x1, y1 = crop.mask_box
    assert not blend[mask[y0:y1, x0:x1] == 0].any()


def test_a_crop_comes_back_in_place():
    picture = landscape(900, 700)
    mask = rectangle(900, 700, 400, 300, 520, 380)
    crop = choose_crop(mask, MODEL)
    assert crop.mask_box == (400, 300, 520, 380)
    back = crop.restore(crop.cut(picture, mask).image)
    assert np.abs(back - picture.rgb(crop.mask_box)).mean() < 1


def test_a_crop_that_sticks_out_comes_back_in_place():
    picture, mask = landscape(300, 90), rectangle(300, 90, 10, 1, 200, 89)
    crop = choose_crop(mask, MODEL)
    assert crop.window != (0, 0, MODEL, MODEL)
    back = crop.restore(crop.cut(picture, mask).image)
    assert np.abs(back - picture.rgb(crop.mask_box)).mean() < 2


def test_padding_mirrors_the_background_and_not_the_object():
    picture, mask = landscape(200, 100), rectangle(200, 100, 60, 2, 150, 98)
    picture.pixels[mask > 0] = (255, 0, 0)
    canvas = choose_crop(mask, MODEL).cut(picture, mask)
    red = (canvas.image[..., 0] > 200) & (canvas.image[..., 1] < 60)
    assert red[canvas.inside].any()
    assert not (~canvas.inside).all()
    assert not red[~canvas.inside].any()
    assert not canvas.hole[~canvas.inside].any()


def test_the_hole_on_the_latent_grid_is_its_nearest_pixel_and_never_lost():
    mask = np.zeros((MODEL, MODEL), np.float32)
    mask[40:80, 24:60] = 1
    canvas = Canvas(np.zeros((MODEL, MODEL, 3), np.float32), mask, np.ones((MODEL, MODEL), bool))
    np.testing.assert_array_equal(latent_hole(canvas, 8)[0, 0], mask[::8, ::8])
    mask[:] = 0
    mask[43, 43:46] = 0.4
    assert latent_hole(canvas, 8).sum() == 1


def scene(background: float = 120.0) -> Canvas:
    image = np.full((MODEL, MODEL, 3), background, np.float32)
    mask = np.zeros((MODEL, MODEL), np.float32)
    mask[30:100, 30:100] = 1
    return Canvas(image, mask, np.ones((MODEL, MODEL), bool))


def test_a_colour_drift_is_taken_back():
    canvas = scene()
    generated = canvas.image + np.array([8, -5, 3], np.float32)
    np.testing.assert_allclose(match_colours(generated, canvas), canvas.image, atol=0.5)


def test_a_slanted_drift_is_taken_back():
    canvas = scene()
    generated = canvas.image + np.linspace(-10, 10, MODEL, dtype=np.float32)[None, :, None]
    assert np.abs(match_colours(generated, canvas) - canvas.image)[30:100, 30:100].max() < 2


def test_an_object_keeps_its_colour():
    canvas = scene()
    generated = canvas.image + 6
    generated[40:90, 40:90] = (200, 20, 20)
    matched = match_colours(generated, canvas)
    np.testing.assert_allclose(matched[60, 60], (194, 14, 14), atol=1)
    painted_over = canvas.image.copy()
    painted_over[20:110, 20:110] = (255, 0, 0)
    assert np.abs(match_colours(painted_over, canvas) - painted_over).max() <= 24


def test_repainted_background_is_left_as_it_was():
    canvas = scene()
    generated = canvas.image + np.random.default_rng(1).normal(0, 2, canvas.image.shape).astype(np.float32)
    generated[60:80, 60:80] = (30, 90, 200)
    old = np.zeros((MODEL, MODEL), np.float32)
    old[40:60, 62:70] = 1
    part = changed_part(generated, canvas, old)
    assert part[58:82, 58:82].min() > 0.99
    assert part[38:60, 60:72].min() > 0.99
    assert part[30:32].max() < 0.01
    assert part[:, 90:].max() < 0.01


def test_a_soft_shadow_is_not_cut():
    canvas = scene()
    generated = canvas.image.copy()
    generated[50:70, 50:70] = 20
    generated[70:80, 45:75] -= np.linspace(30, 7, 10, dtype=np.float32)[:, None, None]
    part = changed_part(generated, canvas, np.zeros((MODEL, MODEL), np.float32))
    assert part[70:81, 44:76].min() > 0.99


def test_thin_parts_are_not_cut():
    canvas = scene()
    generated = canvas.image.copy()
    generated[40:90, 64] = 30
    generated[65, 40:90] = 30
    part = changed_part(generated, canvas, np.zeros((MODEL, MODEL), np.float32))
    assert part[generated[..., 0] == 30].min() > 0.99


@pytest.mark.parametrize("fault", ["noise", "everything changed", "no surroundings"])
def test_when_in_doubt_the_whole_mask_is_taken(fault):
    canvas = scene()
    generated = canvas.image.copy()
    if fault == "noise":
        generated += np.random.default_rng(1).normal(0, 40, canvas.image.shape).astype(np.float32)
    elif fault == "everything changed":
        generated[34:96, 34:96] = 10
    else:
        canvas = Canvas(canvas.image, np.ones((MODEL, MODEL), np.float32), canvas.inside)
    part = changed_part(generated, canvas, np.zeros((MODEL, MODEL), np.float32))
    np.testing.assert_array_equal(part, 1)


def test_a_changed_background_is_reported():
    picture = landscape(600, 500)
    touched = Picture("RGB", picture.pixels.copy())
    touched.pixels[450, 3, 1] ^= 16
    mask = np.zeros((500, 600), np.uint8)
    assert background_difference(picture, touched, mask) == 16
    mask[450, 3] = 1
    assert background_difference(picture, touched, mask) == 0


def test_a_laplace_fill_keeps_what_is_known_and_is_smooth_between():
    values = np.linspace(0, 50, 65, dtype=np.float32)[None, :, None].repeat(65, 0).repeat(3, 2)
    known = np.ones((65, 65), bool)
    known[20:45, 10:55] = False
    result = laplace_fill(np.where(known[..., None], values, -999), known)
    np.testing.assert_array_equal(result[known], values[known])
    assert np.abs(result - values).max() < 5
    np.testing.assert_array_equal(laplace_fill(values, np.zeros_like(known)), 0)


def test_masks_are_dilated_eroded_and_filled():
    mask = np.zeros((41, 41), bool)
    mask[20, 20] = True
    disc = dilate(mask, 6)
    assert disc[20, 14]
    assert not disc[20, 13]
    assert not disc[14, 14]
    np.testing.assert_array_equal(erode(disc, 6), mask)
    ring = disc & ~dilate(mask, 3)
    np.testing.assert_array_equal(fill_holes(ring), disc)
    np.testing.assert_array_equal(reconstruct(mask, disc), disc)


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_a_disc_is_an_octagon_of_squares_and_diamonds(radius):
    mask = np.zeros((31, 41), bool)
    mask[[3, 15, 16], [2, 20, 39]] = True
    wanted = mask
    for turn in range(radius):
        rows = wanted | np.pad(wanted, ((1, 0), (0, 0)))[:-1] | np.pad(wanted, ((0, 1), (0, 0)))[1:]
        base = wanted if turn % 2 else rows
        wanted = rows | np.pad(base, ((0, 0), (1, 0)))[:, :-1] | np.pad(base, ((0, 0), (0, 1)))[:, 1:]
    np.testing.assert_array_equal(dilate(mask, radius), wanted)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_means_are_cut_off_at_the_border(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    means = window_mean(values, 3)
    assert means.shape == shape
    for y, x in np.ndindex(9, 7):
        window = values[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4]
        np.testing.assert_allclose(means[y, x], window.mean((0, 1)), rtol=1e-5)


def test_guidance_mixes_two_rows_an_image():
    calls = []

    def infer(network, inputs, outputs):
        calls.append({name: array.shape for name, array in inputs.items()})
        rows = np.arange(len(inputs["sample"]), dtype=np.float32)
        return {"out_sample": np.broadcast_to(rows[:, None, None, None], (len(rows), 4, 16, 16))}

    condition, start = np.zeros((1, 5, 16, 16), np.float32), next(noise_sampler([1, 2, 3], (4, 16, 16)))
    output = guided_unet(infer, condition, np.zeros((2, 16, 8), np.float32), 4.0)(start, 500)
    assert calls == [{"sample": (6, 9, 16, 16), "timestep": (6, 1), "encoder_hidden_states": (6, 16, 8)}]
    np.testing.assert_array_equal(output[:, 0, 0, 0], [0 + 4 * 3, 1 + 4 * 3, 2 + 4 * 3])
    calls.clear()
    guided_unet(infer, condition, np.zeros((1, 16, 8), np.float32), 1.0)(start, 500)
    assert calls[0]["sample"] == (3, 9, 16, 16)


def test_a_seed_is_drawn_when_none_is_given():
    drawn = {Options.check(**{**CHOICES, "seed": None}).seed for _ in range(20)}
    assert len(drawn) > 1
    assert Options.check(**{**CHOICES, "seed": 5, "num_images": 3}).seeds == [5, 6, 7]


@pytest.mark.parametrize(("name", "value"), [
    ("seed", -1),
    ("seed", 2**63),
    ("num_inference_steps", 0),
    ("num_inference_steps", 10_000),
    ("guidance_scale", float("nan")),
    ("guidance_scale", float("inf")),
    ("guidance_scale", -0.5),
    ("guidance_scale", 31.0),
    ("strength", 0.0),
    ("strength", -0.5),
    ("strength", 1.0001),
    ("strength", float("nan")),
    ("strength", float("inf")),
    ("strength", 0.0499),
    ("num_images", 0),
    ("num_images", 9),
])  # fmt: skip
def test_an_option_out_of_range_is_an_error_by_name(name, value):
    with pytest.raises(EditError, match=name) as caught:
        Options.check(**{**CHOICES, name: value})
    assert caught.value.name == "invalid_option"


@pytest.mark.parametrize(("steps", "strength"), [(10, 0.7), (20, 0.05), (100, 0.29), (3, 1.0)])
def test_a_strength_in_fp32_is_the_decimal_that_was_sent(steps, strength):
    sent = float(np.float32(strength))
    assert Options.check(**{**CHOICES, "num_inference_steps": steps, "strength": sent}).strength == strength


def test_a_strength_that_leaves_no_denoising_step_names_one_that_does():
    with pytest.raises(EditError, match=r"strength 0\.1 .* from 0\.15 on\.") as caught:
        Options.check(**{**CHOICES, "num_inference_steps": 7, "strength": 0.1})
    assert caught.value.name == "invalid_option"
    Options.check(**{**CHOICES, "num_inference_steps": 7, "strength": 0.15})


def test_an_intents_strength_gives_way_to_the_requests_and_leaves_a_denoising_step():
    chosen = Options.check(**{**CHOICES, "strength": 0.5})
    assert chosen.with_default_strength(0.7).strength == 0.5
    default = Options.check(**CHOICES)
    assert default.with_default_strength(0.7).strength == 0.7
    assert replace(default, num_inference_steps=1).with_default_strength(0.7).strength == 1


def test_the_last_seed_of_several_images_must_fit_too():
    with pytest.raises(EditError, match="seed"):
        Options.check(**{**CHOICES, "seed": 2**63 - 1, "num_images": 2})


def test_a_long_negative_prompt_is_an_error():
    with pytest.raises(EditError, match="1001 characters") as caught:
        Options.check(**{**CHOICES, "negative_prompt": "x" * 1001})
    assert caught.value.name == "invalid_prompt"


@pytest.mark.parametrize("report", ["", "[]", "[" * 5000, '{"releases": 1}', '{"milliseconds": "long"}'])
def test_what_is_no_steps_report_is_refused(report):
    with pytest.raises(EditError, match="invalid_option: parse_report"):
        read_report(report, "parse_report")


def test_reports_are_merged_step_by_step():
    first, second = {"releases": {"parse": 1}, "milliseconds": {"parse": 2.0}}, {"releases": {"mask": 3}, "score": 1}
    assert merged(first, second) == {
        "releases": {"parse": 1, "mask": 3},
        "milliseconds": {"parse": 2.0},
        "score": 1,
    }
