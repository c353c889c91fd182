"""What the client keeps beside the pixels: profile, dpi, gamma; EXIF and XMP with --keep-metadata; and whole looks."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from recast.cli import main
from recast.output_files import save
from recast.pictures import decoded, encoded

from serving.imaging.picture import decode, encode
from tests.unit.wild_parts import (
    COLOURS,
    LONG,
    XMP_TURNED,
    chunk,
    exif,
    iccp,
    jpeg,
    pixels,
    png,
    saved,
    scene,
    turned,
)

SENTENCE = "Replace the car with a bicycle"
XMP_SEGMENT = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_TURNED)


def blob(value: bytes) -> np.ndarray:
    return np.array([[value]], dtype=np.object_)


@pytest.fixture
def edit(scripted_server, monkeypatch, tmp_path):
    """Runs `recast edit` on a file's bytes; the server answers with the picture, as it reads and writes it."""
    monkeypatch.setenv("RECAST_URL", scripted_server.grpc_url)

    def run(data: bytes, out: str, *options: str) -> Image.Image:
        answer = encode(decode(data))
        texts = {"intent": b"replace", "target": b"car", "replacement": b"bicycle", "caption": b"a bicycle"}
        scripted_server.script = [{
            "edited_image": blob(answer), "mask_image": blob(answer), "report": blob(b"{}"),
            **{name: blob(text) for name, text in texts.items()},
            "parse_score": np.array([[0.98]], np.float32), "mask_score": np.array([[0.91]], np.float32),
            "edit_score": np.array([[0.97]], np.float32),
            "used_seed": np.array([[5]], np.int64),
        }]  # fmt: skip
        (tmp_path / "in").write_bytes(data)
        assert main(["edit", str(tmp_path / "in"), SENTENCE, "-o", str(tmp_path / out), *options]) == 0
        return pixels((tmp_path / out).read_bytes())

    return run


@pytest.mark.parametrize("out", ["out.png", "out.jpg", "out.webp"])
def test_without_the_option_no_exif_and_no_xmp_is_kept(edit, out):
    result = edit(jpeg(XMP_SEGMENT, exif=exif(6)), out)
    assert not result.getexif()
    assert "xmp" not in result.info


@pytest.mark.parametrize("out", ["out.png", "out.jpg", "out.webp"])
def test_keep_metadata_copies_exif_and_xmp_and_says_upright(edit, out):
    result = edit(jpeg(XMP_SEGMENT, exif=exif(6)), out, "--keep-metadata")
    kept = result.getexif()
    assert (kept[0x010F], kept[0x0112]) == ("Maker", 1)
    assert kept.get_ifd(0x8825)[2] == (48.0, 12.0, 0.0)
    assert result.info["xmp"] == XMP_TURNED.replace(b"6", b"1")
    assert result.size == turned().size


def test_keep_metadata_reads_png_and_leaves_the_pixels_bytes(edit):
    data = png(chunk(b"eXIf", exif(1)[6:]), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_TURNED))
    result = edit(data, "out.png", "--keep-metadata")
    assert result.getexif()[0x010F] == "Maker"
    assert result.tobytes() == scene().tobytes()


def test_keep_metadata_of_a_picture_without_any_changes_nothing(edit, tmp_path):
    edit(saved("PNG"), "out.png", "--keep-metadata")
    assert (tmp_path / "out.png").read_bytes() == encode(decode(saved("PNG")))


def test_xmp_that_jpeg_has_no_place_for_costs_nothing_but_a_note(edit, capsys):
    data = png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_TURNED + b" " * 70_000))
    assert "xmp" not in edit(data, "out.jpg", "--keep-metadata").info
    assert "XMP of more than 64 kB" in capsys.readouterr().err


def test_metadata_that_cannot_be_read_is_said_before_the_edit(scripted_server, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RECAST_URL", scripted_server.grpc_url)
    (tmp_path / "in.heic").write_bytes(b"no picture that Pillow reads")
    assert main(["edit", str(tmp_path / "in.heic"), SENTENCE, "--keep-metadata"]) == 2
    assert main(["edit", str(tmp_path / "in.heic"), SENTENCE, "--strip", str(tmp_path / "s.png")]) == 2
    said = capsys.readouterr().err
    assert "--keep-metadata" in said
    assert "--strip" in said
    assert not scripted_server.calls


@pytest.mark.parametrize("out", ["out.jpg", "out.webp"])
def test_a_profile_longer_than_a_megabyte_opens_and_is_saved(tmp_path, out):
    data = png(chunk(b"iCCP", iccp(LONG)))
    assert decoded(data).info["icc_profile"] == LONG
    save(data, tmp_path / out)
    assert pixels((tmp_path / out).read_bytes()).info["icc_profile"] == LONG


def test_a_broken_profile_costs_nothing():
    assert decoded(png(chunk(b"iCCP", b"a\0\0not zlib"))).tobytes() == scene().tobytes()


def test_dpi_is_kept_in_jpeg(tmp_path):
    save(saved("PNG", dpi=(300, 300)), tmp_path / "out.jpg")
    np.testing.assert_allclose(Image.open(tmp_path / "out.jpg").info["dpi"], (300, 300), atol=0.5)


@pytest.mark.parametrize("out", ["out.jpg", "out.webp"])
def test_gamma_that_the_format_has_no_place_for_is_said(tmp_path, out):
    note = save(png(chunk(b"gAMA", COLOURS[b"gAMA"])), tmp_path / out)
    assert note is not None
    assert "primaries" in note
    assert "primaries" not in (save(saved("PNG"), tmp_path / out) or "")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX", "RGBa", "La", "PA", "LAB"])
def test_pil_images_of_other_coloured_modes_go_as_they_are_seen(mode):
    steps = {"RGBa": "RGBA", "La": "LA", "PA": "P"}
    if mode == "LAB":
        spaces = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        image = ImageCms.profileToProfile(scene(), *spaces, outputMode="LAB")
    else:
        image = scene(steps.get(mode, "RGB")).convert(mode)
    back = decoded(encoded(image)).convert("RGB")
    expected = scene({"La": "L", "PA": "P"}.get(mode, "RGB")).convert("RGB")
    assert np.abs(np.asarray(back, np.int32) - np.asarray(expected, np.int32)).mean() < 3


def test_a_pil_image_of_an_ink_file_goes_as_the_server_reads_its_bytes():
    data = saved("JPEG", "CMYK", icc_profile=b"ink")
    sent = decode(encoded(pixels(data)))
    np.testing.assert_array_equal(sent.pixels, decode(data).pixels)
    assert sent.metadata == decode(data).metadata


@pytest.mark.parametrize("data", [
    jpeg(XMP_SEGMENT),
    jpeg(XMP_SEGMENT, exif=exif(6)),
    png(*map(chunk, (b"gAMA", b"cHRM"), (COLOURS[b"gAMA"], COLOURS[b"cHRM"]))),
    saved("TIFF", "I;16", big_tiff=True),
])  # fmt: skip
def test_a_pil_image_is_the_same_picture_as_its_file(data):
    sent = decode(encoded(pixels(data)))
    np.testing.assert_array_equal(sent.pixels, decode(data).pixels)
    assert dict(sent.metadata.colour_chunks) == dict(decode(data).metadata.colour_chunks)
