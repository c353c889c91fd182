"""Odd files as people have them, made here: each with what must come of it.

Every picture is `scene`, 64x48, so that what is read can be compared with what was written.
"""

import struct
import zlib
from dataclasses import dataclass, field

from PIL import Image

from tests.unit.wild_heic import HEIC
from tests.unit.wild_parts import (
    COLOURS,
    LONG,
    XMP_TURNED,
    brand,
    chunk,
    encoded,
    exif,
    iccp,
    jpeg,
    jpeg_profile,
    late,
    odd_webp,
    pixels,
    png,
    riff,
    saved,
    scene,
    tiff,
    turned,
    webp,
)


@dataclass(frozen=True)
class Wild:
    """`data` read must be `shown` within `tolerance` (mean of levels), or be refused in a sentence with `refused`."""

    data: bytes
    shown: Image.Image | None = None
    refused: str = ""
    tolerance: float = 0
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)


def wild_files() -> dict[str, Wild]:
    return {**_png_files(), **_jpeg_files(), **_webp_files(), **_modern_files(), **_tiff_files(), **_refused()}


def _png_files() -> dict[str, Wild]:
    profile, whole = b"p" * (2 << 20) + LONG, saved("PNG")
    large = {
        "text.png": png(chunk(b"tEXt", b"Comment\0" + LONG)),
        "ztxt.png": png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9))),
        "itxt.png": late(chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LONG))),
        "many-texts.png": png(*[chunk(b"tEXt", b"k%d\0" % i + LONG[:1000]) for i in range(5000)]),
        "profile-bomb.png": png(chunk(b"iCCP", iccp(bytes(300 << 20)))),
        "broken-profile.png": png(chunk(b"iCCP", b"a\0\0not zlib")),
        "empty-profile.png": png(chunk(b"iCCP", b"")),
        "broken-exif.png": png(chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\1")),
        "raw-exif.png": png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzz")),
        "private.png": png(chunk(b"prVt", LONG), chunk(b"vpAg", bytes(9))),
        "no-density.png": png(chunk(b"pHYs", bytes(8) + b"\1")),
        "short-density.png": png(chunk(b"pHYs", b"\0")),
        "short-key.png": png(chunk(b"tRNS", b"\0")),
        "lost-frame.png": png(chunk(b"acTL", b"\0\0\0\1\0\0\0\0"), chunk(b"fcTL", b"\0"), chunk(b"fdAT", b"\0")),
        "zero-gamma.png": png(chunk(b"gAMA", bytes(4))),
        "short-gamma.png": png(chunk(b"gAMA", b"\1"), chunk(b"cHRM", b"\1"), chunk(b"cICP", b"")),
        "xmp-turned.png": png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_TURNED)),
        "no-iend.png": whole[:-12],
        "half-iend.png": whole[:-6],
        "behind.png": whole + LONG,
        **{f"crc-{name.decode()}.png": png(chunk(name, body, crc=1)) for name, body in (
            (b"tEXt", b"a\0b"), (b"pHYs", bytes(9)), (b"iCCP", iccp(b"p")), (b"tIME", bytes(7)), *COLOURS.items())},
        "crc-eXIf.png": png(chunk(b"eXIf", exif(6)[6:], crc=1)),
    }  # fmt: skip
    return {
        **{name: Wild(data, scene()) for name, data in large.items()},
        "profile.png": Wild(png(chunk(b"iCCP", iccp(profile))), scene(), profile=profile),
        "density.png": Wild(png(chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))), scene(), dpi=(300, 150)),
        "turned.png": Wild(late(chunk(b"eXIf", exif(6)[6:])), turned()),
        "all-colours.png": Wild(png(*map(chunk, COLOURS, COLOURS.values())), scene(), chunks=COLOURS),
        "hdr.png": Wild(png(chunk(b"cICP", bytes([9, 16, 0, 1])), chunk(b"cLLI", bytes(8))), scene(),
                        chunks={b"cICP": bytes([9, 16, 0, 1]), b"cLLI": bytes(8)}),
        **{f"{name.decode()}.png": Wild(png(chunk(name, body), mode=mode), scene(mode), chunks={name: body})
           for (name, body), mode in zip(COLOURS.items(), ("P", "L", "RGBA", "I;16"), strict=True)},
        "crc-IHDR.png": Wild(whole[:29] + b"\0\0\0\0" + whole[33:], refused="damaged"),
        "crc-IDAT.png": Wild(whole[:-16] + b"\0\0\0\0" + whole[-12:], refused="damaged"),
        "only-chunks.png": Wild(whole[:33] + chunk(b"tEXt", b"") * 300_000 + whole[33:], refused="too many chunks"),
        "cut.png": Wild(whole[: len(whole) * 2 // 3], refused="cut off"),
        "cut-with-end.png": Wild(whole[: len(whole) * 2 // 3] + chunk(b"IEND", b""), refused="damaged"),
        "app-bundle.png": Wild(whole[:8] + chunk(b"CgBI", bytes(4)) + whole[8:], refused="app bundles"),
    }  # fmt: skip


def _jpeg_files() -> dict[str, Wild]:
    whole, progressive = saved("JPEG"), saved("JPEG", progressive=True)
    shown, profile = pixels(whole), LONG[: 2 << 20]
    read = {
        "segments.jpg": jpeg(*[(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + LONG[:60_000])] * 40),
        "iptc.jpg": jpeg((0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff")),
        "comments.jpg": jpeg(*[(0xFE, LONG[:60_000])] * 30),
        "broken-mpf.jpg": jpeg((0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff")),
        "half-profile.jpg": jpeg((0xE2, b"ICC_PROFILE\0\1")),
        "xmp-turned.jpg": jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_TURNED)),
        "no-end.jpg": whole[:-2],
        "half-end.jpg": whole[:-1],
        "end-and-more.jpg": whole + LONG,
        "padded.jpg": whole[:2] + b"\xff" * 20 + whole[2:],
    }
    return {
        **{name: Wild(data, shown) for name, data in read.items()},
        "no-end-progressive.jpg": Wild(progressive[:-2], pixels(progressive)),
        "no-end-grey.jpg": Wild(saved("JPEG", "L")[:-2], pixels(saved("JPEG", "L"))),
        "profile.jpg": Wild(jpeg(*jpeg_profile(profile)), shown, profile=profile),
        "density.jpg": Wild(jpeg(dpi=(300, 300)), shown, dpi=(300, 300)),
        "turned.jpg": Wild(jpeg(exif=exif(6)), shown.transpose(Image.Transpose.ROTATE_270), dpi=(72, 72)),
        "turned-by-both.jpg": Wild(jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP_TURNED), exif=exif(3)),
                                   shown.transpose(Image.Transpose.ROTATE_180), dpi=(72, 72)),
        "broken-exif.jpg": Wild(jpeg((0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")), shown, dpi=(72, 72)),
        "ink.jpg": Wild(saved("JPEG", "CMYK", icc_profile=b"ink"), pixels(saved("JPEG", "CMYK")).convert("RGB")),
        "only-padding.jpg": Wild(whole[:2] + b"\xff" * 1_000_000, refused="too many segments"),
        "cut.jpg": Wild(whole[:-40], refused="cut off"),
        "cut-by-bytes.jpg": Wild(whole[:-6], refused="cut off"),
        "cut-progressive.jpg": Wild(progressive[:-30], refused="cut off"),
        "cut-header.jpg": Wild(whole[:200], refused="cut off"),
    }  # fmt: skip


def _webp_files() -> dict[str, Wild]:
    odd = odd_webp()
    return {
        "no-padding.webp": Wild(odd[:-1], pixels(odd)),
        "no-padding-counted.webp": Wild(riff(odd[12:-1]), pixels(odd)),
        "too-long.webp": Wild(riff(odd[12:], more=1000), pixels(odd)),
        "xmp.webp": Wild(webp((b"XMP ", XMP_TURNED + LONG)), scene()),
        "half-xmp.webp": Wild(webp((b"XMP ", b"")) + b"XM", scene()),
        "strange-chunk.webp": Wild(webp((b"ABCD", LONG)), scene()),
        "profile.webp": Wild(saved("WEBP", lossless=True, icc_profile=LONG), scene(), profile=LONG),
        "turned.webp": Wild(saved("WEBP", lossless=True, exif=exif(6)), turned()),
        "cut.webp": Wild(odd[:-20], refused="cut off"),
    }


def _modern_files() -> dict[str, Wild]:
    plain, huge = saved("AVIF", quality=100), encoded(scene().resize((8256, 64)), "AVIF", speed=10)
    hdr = plain.replace(b"colrnclx\0\1\0\x0d", b"colrnclx\0\x09\0\x10")
    frames = [scene().rotate(180)]
    broken = saved("AVIF", quality=100, exif=b"Exif\0\0MM\0*" + b"\xff" * 30)
    return {
        "plain.avif": Wild(saved("AVIF", quality=100), scene(), tolerance=2),
        "clear.avif": Wild(saved("AVIF", "RGBA", quality=100), scene("RGBA"), tolerance=2),
        "turned.avif": Wild(saved("AVIF", quality=100, exif=exif(6)), turned(), tolerance=2),
        "broken-exif.avif": Wild(broken, scene(), tolerance=2),
        "xmp-turned.avif": Wild(saved("AVIF", quality=100, xmp=XMP_TURNED), scene(), tolerance=2),
        "profile.avif": Wild(saved("AVIF", quality=100, icc_profile=LONG), scene(), tolerance=2, profile=LONG),
        "cut.avif": Wild(saved("AVIF", quality=100)[:-200], refused="cut off"),
        "moving.avif": Wild(saved("AVIF", save_all=True, append_images=frames), refused="animated"),
        "hdr.avif": Wild(hdr, scene(), tolerance=2, chunks={b"cICP": bytes([9, 16, 0, 1])}),
        "lying.avif": Wild(
            huge.replace(struct.pack(">II", 8256, 64), struct.pack(">II", 64, 48)), refused="wrong size"
        ),
        "plain.heic": Wild(HEIC["plain"], scene(), tolerance=3),
        "turned.heic": Wild(HEIC["turned"], turned(), tolerance=3),
        "clear.heic": Wild(HEIC["alpha"], scene("RGBA"), tolerance=3),
        "cut.heic": Wild(HEIC["plain"][:-60], refused="cut off"),
    }


def _tiff_files() -> dict[str, Wild]:
    several = saved("TIFF", save_all=True, append_images=[scene()])
    big = saved("TIFF", "I;16", big_tiff=True)
    return {
        "plain.tif": Wild(saved("TIFF"), scene()),
        "lzw.tif": Wild(saved("TIFF", compression="tiff_lzw"), scene()),
        "clear.tif": Wild(saved("TIFF", "RGBA"), scene("RGBA")),
        "palette.tif": Wild(saved("TIFF", "P"), scene("P")),
        "black-white.tif": Wild(saved("TIFF", "1", compression="group4"), scene("1")),
        "deep-grey.tif": Wild(big, scene("I;16")),
        "ink.tif": Wild(saved("TIFF", "CMYK", icc_profile=b"ink"), scene("CMYK").convert("RGB")),
        "turned.tif": Wild(tiff(t274=6), turned()),
        "xmp-turned.tif": Wild(tiff(t700=XMP_TURNED), scene()),
        "profile.tif": Wild(saved("TIFF", icc_profile=LONG), scene(), profile=LONG),
        "density.tif": Wild(saved("TIFF", dpi=(300, 150)), scene(), dpi=(300, 150)),
        "pages.tif": Wild(several, refused="several pages"),
        "lab.tif": Wild(saved("TIFF", "LAB"), refused="LAB"),
        "float.tif": Wild(saved("TIFF", "F"), refused="colour mode F"),
        "raw.dng": Wild(tiff(t50706=bytes([1, 4, 0, 0])), refused="raw file"),
        "raw.nef": Wild(tiff(t254=1), refused="raw file"),
        "cut.tif": Wild(saved("TIFF", compression="tiff_lzw")[:400], refused="cut off"),
    }


def _refused() -> dict[str, Wild]:
    files = {
        "GIF": saved("GIF", "P"),
        "BMP": saved("BMP"),
        "PDF": saved("PDF"),
        "JPEG 2000": saved("JPEG2000"),
        "ICO": saved("ICO", sizes=[(32, 32)]),
        "PNM": saved("PPM"),
        "PostScript": saved("EPS"),
        "JPEG XL": b"\xff\x0a" + LONG[:99],
        "PSD": b"8BPS\0\1" + bytes(99),
        "SVG": b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "web page": b"\n<!DOCTYPE html><html>Not found</html>",
        "data URL": b"data:image/png;base64,iVBORw0KGgo",
        "base64": b"iVBORw0KGgoAAAANSUhEUgAA",
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "archive": b"PK\3\4" + bytes(99),
        "video": brand(b"isom", b"mp42"),
        "a video": brand(b"qt  "),
        "animated": brand(b"msf1", b"hevc"),
        "raw file": brand(b"crx ", b"isom"),
        "a camera": b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
        "this coding": brand(b"mif1", b"jpeg"),
        "not a PNG": LONG[:5000],
        "is empty": b"",
    }
    return {f"refused-{number}": Wild(data, refused=word) for number, (word, data) in enumerate(files.items())}
