"""Pictures in (path, bytes, PIL) and out (formats, names, the strip)."""

import io

import numpy as np
import pytest
import recast
from PIL import Image
from recast.output_files import UsageError, beside, check_outputs, flattened, numbered, save
from recast.pictures import decoded, encoded
from recast.strip import strip


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    random = np.random.default_rng(5)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, (size[1], size[0]), dtype=np.uint16))
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = random.integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.frombytes("L" if mode == "1" else mode, size, values.tobytes()).convert(mode)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_pil_picture_keeps_mode_and_values(mode):
    picture = noise(mode)
    back = decoded(encoded(picture))
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(picture))


def test_pil_palette_keeps_its_palette_and_transparency():
    picture = noise().quantize(16)
    picture.info["transparency"] = 3
    back = decoded(encoded(picture))
    assert back.mode == "P"
    assert back.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


def test_pil_picture_is_sent_as_it_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise().save(tmp_path / "turned.png", exif=exif)
    back = decoded(encoded(Image.open(tmp_path / "turned.png")))
    assert back.size == (30, 40)
    assert back.getexif().get(0x0112, 1) == 1


def test_files_and_bytes_go_as_they_are(tmp_path):
    data = b"any bytes \x00\x00"
    (tmp_path / "file").write_bytes(data)
    for picture in (data, bytearray(data), memoryview(data), tmp_path / "file", str(tmp_path / "file")):
        assert encoded(picture) == data


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pil_mode_without_exact_png_is_refused(mode):
    with pytest.raises(recast.InvalidImage, match=mode):
        encoded(Image.new(mode, (4, 4)))


def test_anything_else_is_a_type_error():
    with pytest.raises(TypeError, match="ndarray"):
        encoded(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(recast.InvalidImage):
        encoded(Image.new("RGB", (0, 4)))
    with pytest.raises(FileNotFoundError):
        encoded("nowhere.png")


def test_png_is_written_byte_for_byte(tmp_path):
    data = png(noise())
    assert save(data, tmp_path / "out.PNG") is None
    assert (tmp_path / "out.PNG").read_bytes() == data


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA"])
def test_webp_is_lossless(tmp_path, mode):
    picture = noise(mode)
    assert save(png(picture), tmp_path / "out.webp") is None
    full = "RGBA" if "A" in mode else "RGB"
    assert Image.open(tmp_path / "out.webp").convert(full).tobytes() == picture.convert(full).tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "I;16"])
def test_jpeg_says_that_it_loses(tmp_path, mode):
    note = save(png(noise(mode)), tmp_path / "out.jpg")
    assert note is not None
    assert ".png" in note
    assert ("transparency" in note) == ("A" in mode)
    assert Image.open(tmp_path / "out.jpg").format == "JPEG"


def test_flattened_puts_transparency_over_white():
    assert flattened(Image.new("RGBA", (1, 1), (9, 9, 9, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert flattened(Image.fromarray(np.full((1, 1), 0x8012, np.uint16))).getpixel((0, 0)) == (128, 128, 128)


def test_names_of_outputs(tmp_path):
    assert beside(tmp_path / "a.b.jpg", "edited") == tmp_path / "a.b-edited.png"
    assert numbered(tmp_path / "o.png", 1) == [tmp_path / "o.png"]
    assert numbered(tmp_path / "o.png", 2) == [tmp_path / "o-1.png", tmp_path / "o-2.png"]


def test_outputs_that_cannot_be_are_refused(tmp_path):
    picture = tmp_path / "in.png"
    picture.write_bytes(png(noise()))
    (tmp_path / "link.png").symlink_to(picture)
    (tmp_path / "hard.png").hardlink_to(picture)
    for name, why in [
        ("in.png", "input"),
        ("./x/../in.png", "input"),
        ("link.png", "input"),
        ("hard.png", "input"),
        ("out.gif", r"\.webp"),
        ("out", r"\.png"),
        ("no/out.png", "no folder"),
    ]:
        with pytest.raises(UsageError, match=why):
            check_outputs(picture, [tmp_path / name])
    with pytest.raises(UsageError, match="another output"):
        check_outputs(picture, [tmp_path / "out.png", tmp_path / "out.png"])
    check_outputs(picture, [tmp_path / "out.png", tmp_path / "mask.png"])


@pytest.mark.parametrize(("size", "width"), [((300, 200), 300), ((32, 32), 160), ((1300, 650), 1024)])
def test_strip_has_three_panels_with_the_pictures(size, width):
    before, mask, after = noise("RGB", size), noise("L", size), noise("RGBA", size)
    row = decoded(strip(before, mask, [after], "Replace the car with a bicycle, and " * 9))
    assert row.width == 3 * width + 16
    height = row.height - 28
    panel = flattened(before)
    panel.thumbnail((1024, 1024))
    assert height == panel.height
    left = (width - panel.width) // 2
    assert row.crop((left, 0, left + panel.width, height)).tobytes() == panel.tobytes()
    caption = np.asarray(row.crop((0, height, width, row.height)))
    assert (caption < 128).any(), "the caption is drawn"
