"""What a caller of `replace` gets, over gRPC from the real server."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from recast import Client

from export.demo.objects import COLOURS, draw_object
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests.conftest import REPOSITORY
from tests.served.pictures import encoded, tensor

STEPS = 4


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


@pytest.fixture
def edit(client, scenes):
    """Asks for a boat in place of the thing in one of the scenes."""

    def ask(n: int, **options):
        picture, name = scenes[n]
        options = {"seed": 11, "num_inference_steps": STEPS, "max_attempts": 1} | options
        return client.replace(picture, f"Replace the {name} with a boat", **options)

    return ask


def test_an_edit_answers_the_whole_contract(edit, scenes):
    picture, name = scenes[0]
    answer = edit(0)
    assert (answer.intent, answer.target, answer.replacement) == ("replace", name, "boat")
    assert 0 < answer.parse_score <= 1
    assert 0 < answer.mask_score <= 1
    assert 0 <= answer.edit_score <= 1
    assert answer.report["attempts"] == [1]
    assert answer.seeds == (11,)
    assert (answer.picture.size, answer.picture.mode) == (picture.size, picture.mode)
    assert (answer.mask.size, answer.mask.mode) == (picture.size, "L")
    assert set(answer.report["releases"]) == set(answer.report["milliseconds"]) == {"parse", "mask", "inpaint"}
    assert answer.report["background_difference"] == 0


def test_pixels_outside_the_mask_are_identical_and_inside_changed(edit, scenes):
    before, answer = np.asarray(scenes[0][0]), edit(0)
    after, mask = np.asarray(answer.picture), np.asarray(answer.mask)
    assert (after[mask == 0] == before[mask == 0]).all()
    assert (mask == 0).mean() > 0.3
    assert np.abs(after[mask == 255].astype(int) - before[mask == 255]).mean() > 5


def test_half_the_bits_paint_much_the_same_and_leave_the_background(edit, scenes):
    """--config openvino, which computes in bf16 on processors that can."""
    picture, name = scenes[0]
    exact = edit(0, num_inference_steps=8)
    with start(ServerOptions(REPOSITORY, config="openvino")) as server, Client(server.grpc_url, timeout=120) as client:
        prompt = f"Replace the {name} with a boat"
        answers = [client.replace(picture, prompt, seed=11, num_inference_steps=8) for _ in range(2)]
    assert answers[0].png == answers[1].png
    before, after, mask = (np.asarray(image) for image in (picture, answers[0].picture, answers[0].mask))
    assert (after[mask == 0] == before[mask == 0]).all()
    difference = after[mask == 255] - np.asarray(exact.picture)[mask == 255].astype(float)
    assert np.mean(difference**2) < 255**2 / 1000  # 30 dB


def test_same_seed_same_bytes_other_seed_other_picture(edit, scenes):
    assert edit(1).png == edit(1).png
    assert edit(1).png != edit(1, seed=5).png


def test_no_seed_draws_one_that_repeats_the_edit(edit, scenes):
    drawn = edit(1, seed=None)
    assert edit(1, seed=drawn.seed).png == drawn.png


def test_variants_are_the_edits_of_the_following_seeds(edit, scenes):
    variants = edit(2, seed=7, num_images=3)
    assert variants.seeds == (7, 8, 9)
    assert len(set(variants.pngs)) == 3
    for png, seed in zip(variants.pngs, variants.seeds, strict=True):
        assert edit(2, seed=seed).png == png


def test_what_went_wrong_is_painted_again_from_a_seed_that_repeats_it(client, scenes):
    picture, name = scenes[0]
    options = {"seed": 11, "num_inference_steps": 1}  # one step leaves a smear where the thing was
    first = client.replace(picture, f"Remove the {name}", max_attempts=1, **options)
    *told, best = client.replace_stream(picture, f"Remove the {name}", max_attempts=2, **options)
    assert first.edit_score < 0.5
    assert best.report["attempts"] == [2]
    assert [(step.step, step.steps) for step in told if step.stage == "inpaint"] == [(1, 1), (2, 2)]
    assert best.edit_score >= first.edit_score
    assert best.seed in (11, 12)
    again = client.replace(picture, f"Remove the {name}", max_attempts=1, **{**options, "seed": best.seed})
    assert (again.png, again.edit_score) == (best.png, best.edit_score)


def test_guidance_strength_and_negative_prompt_change_the_picture(edit, scenes):
    plain = edit(2).png
    assert edit(2, guidance_scale=1.0).png != plain
    assert edit(2, negative_prompt="a red boat").png != plain
    assert edit(2, strength=0.5).png != plain


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_every_mode_comes_back_as_it_went_in(server, client, scenes, mode):
    drawn, name = scenes[0]
    picture = drawn.convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    mask = client.mask(drawn, name, intent="replace").mask_png
    inputs = [
        tensor("image", encoded(picture), "BYTES"),
        tensor("mask_image", mask, "BYTES"),
        tensor("caption", b"a boat", "BYTES"),
        tensor("num_inference_steps", 2, "INT32"),
    ]
    result = triton.InferenceServerClient(server.grpc_url).infer("inpaint", inputs)
    edited, blend = (Image.open(io.BytesIO(result.as_numpy(name)[0, 0])) for name in ("edited_image", "blended_mask"))
    assert (edited.mode, edited.size) == (picture.mode, picture.size)
    before, after = (np.asarray(p.convert("RGBA")) for p in (picture, edited))
    untouched = np.asarray(blend) == 0
    assert (after[untouched] == before[untouched]).all()
    assert (after[~untouched] != before[~untouched]).any()


def test_alpha_follows_the_object_of_a_cut_out(client):
    car = draw_object("car", COLOURS["red"], 200, 115, flip=False, tilt=0, light=(0.7, -0.7))
    picture = Image.new("RGBA", (340, 260), (0, 200, 90, 0))
    picture.paste(car, (70, 90))
    before = np.asarray(picture)
    removed, replaced, recoloured = (
        np.asarray(client.replace(picture, prompt, seed=1, num_inference_steps=4, max_attempts=1).picture)
        for prompt in ("Remove the car", "Replace the car with a dog", "Make the car blue")
    )
    assert removed[..., 3].max() == 0
    gone = (before[..., 3] == 255) & (replaced[..., 3] == 0)
    appeared = (before[..., 3] == 0) & (replaced[..., 3] > 200)
    assert min(gone.sum(), appeared.sum()) > 1000
    assert (recoloured[..., 3] == before[..., 3]).all()
    assert (recoloured != before).any()


def test_a_jpeg_is_edited_upright(client, scenes):
    picture, name = scenes[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown rotated by 90°
    data = encoded(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    answer = client.replace(data, f"Replace the {name} with a boat", seed=1, num_inference_steps=2)
    assert answer.picture.size == picture.size


@pytest.mark.parametrize("size", [(130, 97), (1601, 1201), (700, 330)])
def test_any_size_is_edited_at_its_size(client, scenes, size):
    picture, name = scenes[0]
    answer = client.replace(picture.resize(size), f"Replace the {name} with a boat", seed=1, num_inference_steps=2)
    assert answer.picture.size == size


def test_forty_requests_from_eight_threads_each_equal_the_same_request_alone(client, scenes):
    words = ("a boat", "a red car", "an umbrella", "a blue house", "a green tree")

    def ask(n: int) -> bytes:
        picture, name = scenes[n % len(scenes)]
        prompt = f"Replace the {name} with {words[n % len(words)]}"
        return client.replace(picture, prompt, seed=n, num_inference_steps=2 + n % 3).png

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(40)))
    alone = [ask(n) for n in range(40)]
    assert together == alone
