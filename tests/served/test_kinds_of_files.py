"""Kinds of files beyond PNG, JPEG and WebP through the real server's processes, which load a decoder at the first."""

from contextlib import suppress

import numpy as np
import pytest
from recast import Client, ObjectNotFound

from tests.served.pictures import encoded
from tests.unit.wild_heic import HEIC


@pytest.fixture(scope="module")
def client(server):
    with Client(server.grpc_url, timeout=120) as running:
        yield running


@pytest.mark.parametrize("options", [
    {"format": "AVIF", "quality": 100},
    {"format": "TIFF", "compression": "tiff_lzw"},
    {"format": "PNG", "icc_profile": np.random.default_rng(0).bytes(3 << 20)},
], ids=lambda options: options["format"])  # fmt: skip
def test_a_file_of_another_kind_is_edited(client, scenes, options):
    picture, name = scenes[0]
    data = encoded(picture, options["format"], **{key: value for key, value in options.items() if key != "format"})
    answer = client.replace(data, f"Replace the {name} with a boat", seed=11, num_inference_steps=4)
    assert (answer.picture.size, answer.picture.mode) == (picture.size, "RGB")
    assert answer.picture.info.get("icc_profile") == options.get("icc_profile")
    before, after, mask = (np.asarray(image, np.int32) for image in (picture, answer.picture, answer.mask))
    assert np.abs(after - before)[mask == 0].mean() < 2


def test_heic_is_looked_into(client):
    with suppress(ObjectNotFound):  # a file that is not read is InvalidImage
        assert client.mask(HEIC["plain"], "car").mask.size == (64, 48)
