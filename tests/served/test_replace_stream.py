"""What a caller of `replace_stream` gets, over gRPC from the real server."""

import asyncio
import dataclasses
import io

import pytest
import recast
from PIL import Image

from tests.served.pictures import encoded

OPTIONS = {"seed": 11, "num_inference_steps": 4, "num_images": 2, "max_attempts": 1}


@pytest.fixture(scope="module")
def client(server):
    with recast.Client(server.grpc_url) as running:
        yield running


@pytest.fixture(scope="module")
def wish(scenes):
    """A picture and a sentence about a thing in it."""
    picture, name = scenes[0]
    return encoded(picture), f"Replace the {name} with a boat"


@pytest.fixture(scope="module")
def streamed(client, wish):
    return list(client.replace_stream(*wish, **OPTIONS))


def test_every_step_is_told_in_order(streamed):
    assert [(step.stage, step.step, step.steps) for step in streamed[:-1]] == [
        ("parse", 1, 1),
        ("mask", 1, 1),
        *(("inpaint", step, 4) for step in (1, 2, 3, 4)),
    ]
    assert all(step.preview is None for step in streamed[:-1])


@pytest.mark.parametrize("sentence", ["Replace the {} with a boat", "Make the {} blue", "Remove the {}"])
def test_the_edit_is_that_of_replace_to_the_byte(client, scenes, sentence):
    picture, name = scenes[0]
    *_, stream = client.replace_stream(picture, sentence.format(name), **OPTIONS)
    unary = client.replace(picture, sentence.format(name), **OPTIONS)
    assert stream.pngs == unary.pngs
    assert stream.mask_png == unary.mask_png
    assert stream.report.pop("milliseconds").keys() == unary.report.pop("milliseconds").keys()
    assert dataclasses.replace(stream, request_id="") == dataclasses.replace(unary, request_id="")


def test_previews_show_the_picture_as_it_forms(client, wish):
    *steps, edit = client.replace_stream(*wish, preview_side=64, **OPTIONS)
    previews = [step.preview for step in steps if step.stage == "inpaint"]
    assert len(previews) == 4
    assert {(preview.format, preview.size) for preview in previews} == {("JPEG", (64, 64))}
    assert len({step.preview_jpeg for step in steps if step.stage == "inpaint"}) == 4
    assert edit.png == client.replace(*wish, **OPTIONS).png


def test_errors_are_typed_and_the_place_is_free_again(client, wish, scenes):
    picture, sentence = wish
    for error, image, prompt, options in [
        (recast.InvalidImage, b"no picture\n", sentence, {}),
        (recast.InvalidPrompt, picture, "", {}),
        (recast.NotAnEdit, picture, "hello there", {}),
        (recast.ObjectNotFound, picture, "remove the unicorn", {}),
        (recast.InvalidOption, picture, sentence, {"num_inference_steps": 0}),
        (recast.InvalidOption, picture, sentence, {"preview_side": 4000}),
        (recast.InvalidOption, picture, sentence, {"guidance_scale": float("nan")}),
    ] * 2:  # more than there are instances
        with pytest.raises(recast.RecastError) as raised:
            list(client.replace_stream(image, prompt, **options))
        assert type(raised.value) is error, raised.value
    *_, edit = client.replace_stream(picture, sentence, **OPTIONS)
    assert Image.open(io.BytesIO(edit.png)).size == scenes[0][0].size


def test_tasks_follow_their_edits_at_once(server, wish, streamed):
    async def follow(client: recast.AsyncClient) -> list[recast.Progress | recast.Edit]:
        return [step async for step in client.replace_stream(*wish, **OPTIONS)]

    async def all_at_once() -> list[list[recast.Progress | recast.Edit]]:
        async with recast.AsyncClient(server.grpc_url) as client:
            return await asyncio.gather(*(follow(client) for _ in range(10)))

    for steps in asyncio.run(all_at_once()):
        assert steps[:-1] == streamed[:-1]
        assert steps[-1].pngs == streamed[-1].pngs
