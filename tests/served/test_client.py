"""What a user of the library does, on a real server: edits, guarantees, errors."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import recast
from PIL import Image

STEPS = 6


@pytest.fixture(scope="module")
def picture(street) -> bytes:
    file = io.BytesIO()
    Image.fromarray(street[0].image).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def url(server) -> str:
    return server.grpc_url


@pytest.fixture(scope="module")
def client(url):
    with recast.Client(url) as client:
        yield client


def test_replace_changes_the_object_and_nothing_else(client, street, picture):
    edit = client.replace(picture, "Replace the car with a bicycle", seed=3, num_inference_steps=STEPS, max_attempts=1)
    before, after, mask = street[0].image, np.asarray(edit.picture), np.asarray(edit.mask)
    assert edit.picture.format == "PNG"
    assert edit.picture.mode == "RGB"
    assert edit.mask.mode == "L"
    assert after.shape == before.shape
    assert mask.shape == before.shape[:2]
    np.testing.assert_array_equal(after[mask == 0], before[mask == 0])
    inside = street[1].mask > 127
    assert (mask[inside] > 0).mean() > 0.8
    assert np.abs(after[inside].astype(int) - before[inside]).mean() > 5
    assert (edit.intent, edit.target, edit.replacement) == ("replace", "car", "bicycle")
    assert 0 < edit.parse_score <= 1
    assert 0 < edit.mask_score <= 1
    assert edit.seeds == (3,)
    assert set(edit.report["milliseconds"]) == set(edit.report["releases"]) == {"parse", "mask", "inpaint"}
    assert edit.report["background_difference"] == 0


def test_path_bytes_and_pil_are_one_picture(client, picture, tmp_path):
    (tmp_path / "street.png").write_bytes(picture)
    forms = (picture, tmp_path / "street.png", Image.open(io.BytesIO(picture)))
    edits = [client.replace(form, "remove the car", seed=1, num_inference_steps=2) for form in forms]
    assert len({edit.picture.tobytes() for edit in edits}) == 1


def test_variants_are_the_edits_of_the_following_seeds(client, picture):
    sentence = "swap the car for a red boat"
    both = client.replace(picture, sentence, seed=10, num_images=2, num_inference_steps=STEPS, max_attempts=1)
    second = client.replace(picture, sentence, seed=11, num_inference_steps=STEPS, max_attempts=1)
    assert both.seeds == (10, 11)
    assert len(both.pictures) == 2
    difference = np.asarray(both.pictures[1]).astype(int) - np.asarray(second.picture)
    assert np.abs(difference).max() <= 1


def test_a_seed_that_is_not_given_is_drawn_and_repeats_the_edit(client, picture):
    ask = partial(client.replace, picture, "make the car blue", num_inference_steps=2, max_attempts=1)
    first, second = ask(), ask()
    again = ask(seed=first.seed)
    assert first.seed != second.seed
    assert again.png == first.png
    assert first.intent == "recolour"
    assert first.replacement == "blue"


def test_parse(client):
    result = client.parse("get rid of the dog")
    assert (result.intent, result.target, result.caption) == ("remove", "dog", "empty background")
    assert 0 < result.parse_score <= 1


def test_mask_finds_the_object(client, street, picture):
    result = client.mask(picture, "car")
    found, true = np.asarray(result.object_mask) > 127, street[1].mask > 127
    assert (found & true).sum() / (found | true).sum() > 0.6
    assert result.mask.size == result.object_mask.size == true.shape[::-1]
    assert 0 < result.mask_score <= 1


def test_async_client_gives_the_same_edits(client, url, picture):
    options = {"seed": 4, "num_inference_steps": 2}

    async def ask() -> list[recast.Edit]:
        async with recast.AsyncClient(url) as awaited:
            return [await awaited.replace(picture, "remove the car", **options)]

    assert asyncio.run(ask())[0].png == client.replace(picture, "remove the car", **options).png


def test_threads_share_a_client(client, picture):
    def ask(seed: int) -> bytes:
        return client.replace(picture, "Replace the car with a tree", seed=seed, num_inference_steps=2).png

    alone = [ask(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == alone


def test_status_is_ready_and_names_the_releases(client):
    status = client.status()
    assert status.ready
    assert status.server.startswith("triton")
    assert all(step.ready and step.releases for step in status.steps.values())


def test_errors_are_typed_and_the_server_goes_on(client, street, picture):
    sentence = "Replace the car with a bicycle"
    for error, image, prompt, options in [
        (recast.InvalidImage, b"", sentence, {}),
        (recast.InvalidImage, b"no picture\n", sentence, {}),
        (recast.InvalidImage, picture[:200], sentence, {}),
        (recast.InvalidPrompt, picture, "", {}),
        (recast.InvalidPrompt, picture, "car " * 2500, {}),
        (recast.NotAnEdit, picture, "hello there", {}),
        (recast.InvalidOption, picture, sentence, {"num_inference_steps": 0}),
        (recast.InvalidOption, picture, sentence, {"num_inference_steps": 10_000}),
        (recast.InvalidOption, picture, sentence, {"guidance_scale": float("nan")}),
        (recast.InvalidOption, picture, sentence, {"num_images": 0}),
        (recast.ObjectNotFound, picture, "remove the unicorn", {}),
    ]:
        with pytest.raises(recast.RecastError) as raised:
            client.replace(image, prompt, **options)
        assert type(raised.value) is error, f"{prompt[:40]!r}, {options}: {raised.value!r}"
        assert raised.value.sentence
        assert "Traceback" not in raised.value.sentence
    assert client.replace(picture, sentence, num_inference_steps=2).pngs


def test_deadline(client, picture):
    with pytest.raises(recast.DeadlineExceeded):
        client.replace(picture, "Replace the car with a bicycle", num_inference_steps=100, num_images=8, timeout=0.05)
