"""Pictures in and out: every mode exact where the mask is 0, every unusable file one typed error."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from serving.errors import EditError
from serving.imaging.picture import Picture, decode, decode_mask, encode, encode_mask

SIZE = (60, 44)


def colours(size=SIZE) -> Image.Image:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = np.stack([128 + 100 * np.sin(x / 7), 128 + 100 * np.cos(y / 5), (x * 3 + y) % 256], -1)
    return Image.fromarray(waves.astype(np.uint8))


def alpha(size=SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8))


def image_of(mode: str, size=SIZE) -> Image.Image:
    if mode == "RGBA":
        image = colours(size)
        image.putalpha(alpha(size))
        return image
    if mode == "LA":
        return Image.merge("LA", [colours(size).convert("L"), alpha(size)])
    if mode == "I;16":
        return Image.fromarray(np.random.default_rng(0).integers(0, 65536, size[::-1], dtype=np.uint16))
    if mode == "P":
        return colours(size).quantize(40)
    return colours(size).convert(mode)


def save(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def spot(size=SIZE) -> np.ndarray:
    mask = np.zeros(size[::-1], np.uint8)
    mask[10:30, 20:50] = 128
    mask[14:26, 24:46] = 255
    return mask


def edited(picture: Picture, mask: np.ndarray) -> Picture:
    box = (10, 5, 55, 40)
    new = np.full((35, 45, 3), (220.4, 30.2, 90.0), np.float32)
    return picture.blend(box, new, mask[5:40, 10:55])


MODES = ["1", "P", "L", "LA", "RGB", "RGBA", "I;16"]


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_survives_decoding_and_encoding(mode):
    source = image_of(mode)
    result = opened(encode(decode(save(source))))
    assert result.format == "PNG"
    assert (result.mode, result.size) == (source.mode, source.size)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(source))


@pytest.mark.parametrize("mode", MODES)
def test_pixels_are_exact_where_the_mask_is_zero(mode):
    source, mask = image_of(mode), spot()
    result = opened(encode(edited(decode(save(source)), mask)))
    assert (result.mode, result.size) == (source.mode, source.size)
    out = mask == 0
    np.testing.assert_array_equal(np.asarray(result)[out], np.asarray(source)[out])
    np.testing.assert_array_equal(np.asarray(result.convert("RGBA"))[out], np.asarray(source.convert("RGBA"))[out])


@pytest.mark.parametrize(("mode", "expected"), [
    ("RGB", (220, 30, 90)),
    ("RGBA", (220, 30, 90)),
    ("P", (220, 30, 90)),
    ("L", (94,)),
    ("LA", (94,)),
])  # fmt: skip
def test_the_new_colour_stands_where_the_mask_is_full(mode, expected):
    result = opened(encode(edited(decode(save(image_of(mode))), spot())))
    middle = (result.convert("RGB") if mode == "P" else result).getpixel((35, 20))
    middle = middle if isinstance(middle, tuple) else (middle,)
    np.testing.assert_allclose(middle[: len(expected)], expected, atol=1)


def test_sixteen_bits_are_blended_at_full_depth():
    picture = decode(save(image_of("I;16")))
    result = edited(picture, spot())
    assert abs(int(result.pixels[20, 35, 0]) - 94 * 257) < 257
    assert (result.pixels % 257 != 0).any()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opacity_is_left_alone(mode):
    source = image_of(mode)
    result = opened(encode(edited(decode(save(source)), spot())))
    np.testing.assert_array_equal(result.getchannel("A"), source.getchannel("A"))


def test_a_palette_keeps_its_transparency_and_its_transparent_pixels():
    source = image_of("P")
    see_through = source.getpixel((35, 20))
    data = save(source, transparency=see_through)
    result = opened(encode(edited(decode(data), spot())))
    before, after = (np.asarray(image.convert("RGBA"))[..., 3] for image in (opened(data), result))
    np.testing.assert_array_equal(before, after)
    assert (before == 0).any()


def test_a_full_palette_takes_its_nearest_colours():
    source = Image.fromarray(np.arange(44 * 60, dtype=np.uint16).astype(np.uint8).reshape(44, 60)).convert("P")
    source.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    result = opened(encode(edited(decode(save(source)), spot())))
    assert result.getpalette() == source.getpalette()
    np.testing.assert_allclose(result.convert("RGB").getpixel((35, 20)), (220, 30, 90), atol=60)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_rotated_picture_comes_back_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = save(colours(), kind, exif=exif, **options)
    picture = decode(data)
    assert picture.size == (SIZE if orientation < 5 else SIZE[::-1])
    np.testing.assert_array_equal(picture.rgb(), np.asarray(ImageOps.exif_transpose(opened(data)).convert("RGB")))
    assert opened(encode(picture)).getexif().get(0x0112, 1) == 1


def test_damaged_exif_does_not_matter():
    picture = decode(save(colours(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"))
    assert picture.size == SIZE


def test_profile_and_resolution_are_kept():
    result = opened(encode(decode(save(colours(), icc_profile=b"a profile", dpi=(300, 300)))))
    assert result.info["icc_profile"] == b"a profile"
    np.testing.assert_allclose(result.info["dpi"], (300, 300), atol=0.1)


def test_cmyk_comes_back_as_its_rgb_conversion():
    data = save(colours().convert("CMYK"), "JPEG", icc_profile=b"ink")
    result = opened(encode(decode(data)))
    assert result.mode == "RGB"
    assert "icc_profile" not in result.info
    np.testing.assert_array_equal(np.asarray(result), np.asarray(opened(data).convert("RGB")))


@pytest.mark.parametrize(("mode", "key", "expected"), [("RGB", (1, 2, 3), "RGBA"), ("L", 7, "LA"), ("1", 0, "LA")])
def test_a_colour_key_comes_back_as_opacity(mode, key, expected):
    source = image_of(mode)
    data = save(source, transparency=key)
    result = opened(encode(decode(data)))
    assert result.mode == expected
    np.testing.assert_array_equal(np.asarray(result.convert("RGBA")), np.asarray(opened(data).convert("RGBA")))


def test_transparent_pictures_are_seen_on_white():
    image = Image.new("RGBA", SIZE, (10, 20, 30, 0))
    np.testing.assert_array_equal(decode(save(image)).rgb(), 255)


def test_a_phone_picture_with_a_preview_behind_it_is_its_first_frame():
    data = save(colours(), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))], quality=95)
    assert decode(data).size == SIZE


def test_a_mask_survives_and_must_fit():
    mask = spot()
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), SIZE), mask)
    np.testing.assert_array_equal(decode_mask(save(Image.fromarray(mask).convert("RGB")), SIZE), mask)
    with pytest.raises(EditError, match=r"60x44.*44x60"):
        decode_mask(encode_mask(mask), SIZE[::-1])


BAD = {
    "empty": (b"", "empty"),
    "text": (b"hello, I am no picture", "not a PNG"),
    "noise": (np.random.default_rng(0).bytes(100_000), "not a PNG"),
    "gif": (save(colours(), "GIF"), "GIF"),
    "bmp": (save(colours(), "BMP"), "BMP"),
    "one pixel": (save(Image.new("RGB", (1, 1))), "at least 32"),
    "thin": (save(Image.new("RGB", (400, 31))), "at least 32"),
    "wide": (save(Image.new("1", (8193, 32))), "at most 8192"),
    "png bomb": (png(50_000, 50_000, 8, 2), "too large|at most"),
    "less of a bomb": (png(10_000, 8_000, 8, 2), "at most"),
    "webp bomb": (b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff", "at most"),
    "webp header": (b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0", "px|damaged|cut off"),
    "png header": (save(colours())[:20], "not a PNG|damaged|cut off"),
    "png without pixels": (png(64, 64, 8, 2), "damaged or cut off"),
    "png cut": (save(colours())[:300], "damaged or cut off"),
    "jpeg cut": (save(colours(), "JPEG")[:700], "damaged or cut off"),
    "webp cut": (save(colours(), "WEBP", lossless=True)[:200], "damaged|cut off"),
    "apng": (save(colours(), "PNG", save_all=True, append_images=[colours().rotate(9)]), "animated"),
    "animated webp": (
        save(colours(), "WEBP", save_all=True, append_images=[colours().rotate(9)]),
        "animated",
    ),
    "animated gif": (save(colours(), "GIF", save_all=True, append_images=[colours().rotate(9)]), "GIF"),
    "16-bit rgb": (png(32, 32, 16, 2, bytes(32 * (1 + 32 * 6))), "16 bits"),
    "16-bit rgba": (png(32, 32, 16, 6, bytes(32 * (1 + 32 * 8))), "16 bits"),
    "16-bit la": (png(32, 32, 16, 4, bytes(32 * (1 + 32 * 4))), "16 bits"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_typed_error(name):
    data, reason = BAD[name]
    with pytest.raises(EditError, match=reason) as caught:
        decode(data)
    assert caught.value.name == "invalid_image"
    assert caught.value.sentence.endswith(".")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_damage_anywhere_is_a_picture_or_a_typed_error(kind):
    data = save(colours((200, 150)), kind)
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            broken[at] = rng.integers(0, 256)
        with suppress(EditError):  # anything else fails the test
            decode(bytes(broken[: rng.integers(1, len(data) + 1)]))
