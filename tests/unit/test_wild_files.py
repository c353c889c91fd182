"""A folder of odd files, each read or refused as a browser's user expects; what is read opens in our client."""

import struct
import sys
import warnings
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from recast.pictures import decoded

from serving.errors import EditError
from serving.imaging.picture import decode, encode
from tests.unit.wild_files import Wild, wild_files
from tests.unit.wild_parts import COLOURS

FILES = wild_files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wild")
    for name, wild in FILES.items():
        (folder / name).write_bytes(wild.data)
    return folder


def colour_chunks(png: bytes) -> dict[bytes, bytes]:
    found, at = {}, 8
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        if name in (*COLOURS, b"cLLI"):
            found[name] = png[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def check_read(wild: Wild, png: bytes) -> None:
    assert wild.shown is not None
    answer = decoded(png)
    assert (answer.mode, answer.size) == (wild.shown.mode, wild.shown.size)
    seen, expected = (np.asarray(image.convert(None if image.mode != "P" else "RGB"), np.int32)
                      for image in (answer, wild.shown))  # fmt: skip
    assert np.abs(seen - expected).mean() <= wild.tolerance
    assert answer.info.get("icc_profile") == wild.profile
    np.testing.assert_allclose(answer.info.get("dpi", (0, 0)), wild.dpi or (0, 0), atol=0.02)
    assert colour_chunks(png) == wild.chunks
    assert not answer.getexif()
    assert "xmp" not in answer.info


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_is_read_as_it_is_seen_or_refused_by_a_sentence_that_says_why(folder, name):
    wild, data = FILES[name], (folder / name).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of broken EXIF
        if wild.shown is not None:
            check_read(wild, encode(decode(data)))
            return
        with pytest.raises(EditError) as caught:
            decode(data)
    assert caught.value.name == "invalid_image"
    assert wild.refused in caught.value.sentence


def test_heic_is_refused_by_name_where_its_library_was_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(EditError, match="HEIC is not read here; save it as PNG or JPEG"):
        decode(FILES["plain.heic"].data)


@pytest.mark.filterwarnings("ignore")
def test_damage_to_heic_is_a_picture_or_a_typed_error():
    rng = np.random.default_rng(0)
    for _ in range(500):
        broken = bytearray(FILES["turned.heic"].data)
        for at in rng.integers(0, len(broken), 4):
            broken[at] = rng.choice([0, 127, 128, 255])
        with suppress(EditError):  # anything else fails the test, and a crash of the library ends it
            decode(bytes(broken))


def test_there_are_enough_of_them():
    assert len(FILES) >= 60


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_no_pixel_is_decoded_before_the_size_is_known_to_be_small(kind, tmp_path, monkeypatch):
    Image.new("L", (1000, 900)).save(tmp_path / "large", kind)
    loads = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: loads.append(image))
    with pytest.raises(EditError, match="1000x900"):
        decode((tmp_path / "large").read_bytes(), max_pixels=500_000)
    assert not loads
