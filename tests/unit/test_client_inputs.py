"""What people give as the sentence, the picture and the options: taken where it is plain, else one sentence."""

import io

import numpy as np
import pytest
import recast
from PIL import Image

from tests.unit.client_answers import MASK, PARSE, edit

RED = np.zeros((4, 6, 3), np.uint8)
RED[..., 0] = 255


@pytest.mark.parametrize(
    ("sentence", "words"), [(None, "None"), (b"replace it", "decode"), (5, "int"), (["replace it"], "list")]
)
def test_a_sentence_that_is_no_text_is_refused(scripted_server, connect, sentence, words):
    with connect(scripted_server.grpc_url) as client:
        for ask in (
            lambda: client.replace(b"x", sentence),
            lambda: list(client.replace_stream(b"x", sentence)),
            lambda: client.parse(sentence),
            lambda: client.mask(b"x", sentence),
        ):
            with pytest.raises(recast.InvalidPrompt, match=words):
                ask()
    assert scripted_server.calls == []


@pytest.mark.parametrize("option", ["negative_prompt", "canary_key", "guidance_scale", "request_id"])
def test_an_option_of_another_type_is_refused(scripted_server, connect, option):
    value = "much" if option == "guidance_scale" else b"bytes"
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.InvalidOption, match=option):
        client.replace(b"x", "y", **{option: value})
    assert scripted_server.calls == []


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "data URL"),
        ("https://recast.example/street.png", "address"),
        (np.zeros((4, 6, 3), np.float32), "float32"),
        (np.zeros((3, 4, 6), np.uint8), r"\[3, 4, 6\]"),
        (np.zeros((1, 4, 6, 3), np.uint8), "height, width"),
        (np.zeros((0, 6, 3), np.uint8), "no pixels"),
        (np.zeros((), np.uint8), "height"),
    ],
)
def test_a_picture_that_is_none_is_refused(scripted_server, connect, picture, words):
    with connect(scripted_server.grpc_url) as client:
        with pytest.raises(recast.InvalidImage, match=words):
            client.replace(picture, "y")
        with pytest.raises(recast.InvalidImage, match=words):
            client.mask(picture, "y")
    assert scripted_server.calls == []


def test_what_is_no_picture_at_all_is_a_type_error(connect):
    with connect("localhost:1") as client:
        for nothing in (None, 5, [1, 2], io.BytesIO(b"x")):
            with pytest.raises(TypeError, match="a picture is"):
                client.replace(nothing, "y")


@pytest.mark.parametrize("array", [RED, RED[..., 0], np.dstack([RED, RED[..., 0]]), RED[::-1, ::2]])
def test_an_array_of_pixels_is_a_picture(scripted_server, connect, array):
    scripted_server.script = [edit(), MASK, PARSE]
    with connect(scripted_server.grpc_url) as client:
        client.replace(array, "y")
    sent = Image.open(io.BytesIO(scripted_server.calls[0][1]["image"].item()))
    assert np.array_equal(np.asarray(sent), array)
