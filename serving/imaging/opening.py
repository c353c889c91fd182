"""The file that a caller sent as a Pillow image, upright and loaded, or one sentence that says why not.

Sizes are counted in the header before any pixel is decoded: no caller may make the server allocate what it likes.
"""

import importlib
from dataclasses import replace
from io import BytesIO

from PIL import Image

from serving.errors import EditError
from serving.imaging.avif import coded_sizes
from serving.imaging.containers import bare
from serving.imaging.kinds import READ, SAVE, kind_of, refused
from serving.imaging.metadata import Metadata, sensible_dpi, upright

MIN_SIDE = 32
MAX_SIDE = 8192
MAX_PIXELS = MAX_SIDE * MAX_SIDE
MAX_BYTES = 128 << 20
"""Of an encoded picture: a file of MAX_PIXELS that compresses badly."""
MODES = ("1", "P", "L", "LA", "RGB", "RGBA", "I;16", "I;16B", "CMYK", "RGBX")
_PLUGINS = {"PNG": "PngImagePlugin", "JPEG": "JpegImagePlugin", "WEBP": "WebPImagePlugin",
            "AVIF": "AvifImagePlugin", "TIFF": "TiffImagePlugin"}  # fmt: skip
"""Imported when the first file of the kind comes: a step's process that sees no AVIF loads no AVIF decoder."""
_TAIL = 4096
"""Bytes that stand for a JPEG's missing end: more than a row of blocks needs to show that something is missing."""
_NEW_SUBFILE, _BITS, _PHOTOMETRIC, _DNG = 254, 258, 262, 50706
_SENSOR = (32803, 34892)
"""TIFF's photometric interpretations of raw sensors: colour filter array, linear raw."""


def opened(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, Metadata]:
    """The picture in a file of a kind that is READ, one of MODES. Raises EditError invalid_image, or MemoryError."""
    if not data:
        raise _invalid(f"the picture is empty; send the bytes of a {READ} file.")
    if len(data) > MAX_BYTES:
        raise _invalid(f"the picture is {len(data) >> 20} MiB; send at most {MAX_BYTES >> 20} MiB.")
    kind = kind_of(data)
    if kind == "WEBP":
        _check_size(_webp_canvas(data), max_pixels)  # Pillow allocates the canvas when it opens the file
    data, metadata = bare(kind, data)
    image = _header(kind, data)
    _check_size(image.size, max_pixels)
    if kind == "AVIF":
        _check_coded(data)
    _check_kind(image, data)
    image = _loaded(image, data)
    _check_size(image.size, max_pixels)  # HEIC may hold another size than it says
    if kind in ("AVIF", "TIFF", "HEIF"):
        metadata = replace(metadata, icc_profile=image.info.get("icc_profile"))
    if kind not in ("TIFF", "HEIF"):  # these two are turned by their libraries
        image = upright(image, image.info.get("exif"))
    if image.mode == "CMYK":
        metadata = replace(metadata, icc_profile=None)  # it describes ink
    return image, replace(metadata, dpi=sensible_dpi(image.info.get("dpi")))


def _header(kind: str, data: bytes) -> Image.Image:
    try:
        if kind == "HEIF":
            return _heic(data)
        importlib.import_module(f"PIL.{_PLUGINS[kind]}")
        return Image.open(BytesIO(data), formats=(kind,))
    except (EditError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise _invalid(f"the picture is too large; send at most {MAX_SIDE} px a side.") from None
    except Exception:
        raise _invalid("the picture's header is damaged or cut off; save it again as PNG or JPEG.") from None


def _heic(data: bytes) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:  # an operator may leave it out
        raise refused("HEIC", SAVE) from None
    # The less of a hostile file is looked at, the better.
    options = pillow_heif.options
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pillow_heif.HeifImageFile(BytesIO(data))


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise _invalid(f"the picture is {width}x{height} px; send at least {MIN_SIDE} px a side.")
    if max(size) > MAX_SIDE or width * height > max_pixels:
        raise _invalid(f"the picture is {width}x{height} px; send at most {MAX_SIDE} px a side "
                       f"and {max_pixels} px altogether.")  # fmt: skip


def _check_coded(avif: bytes) -> None:
    try:
        fits = all(max(size) <= MAX_SIDE for size in coded_sizes(avif))
    except ValueError:
        fits = False
    if not fits:
        raise _invalid("the picture's header tells a wrong size; save it again as PNG or JPEG.")


def _check_kind(image: Image.Image, data: bytes) -> None:
    if image.format in ("WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1:
        raise _invalid("the picture is animated; send one frame as PNG or JPEG.")
    depth, plain = 8, True
    if image.format == "PNG":
        depth, plain = data[24], data[25] == 0 and "transparency" not in image.info
    if image.format == "TIFF":
        depth, plain = _tiff_depth(image), image.mode in ("I;16", "I;16B")
    if image.mode not in MODES:
        raise _invalid(f"the colour mode {image.mode} is not supported; save the picture as RGB.")
    if depth > 8 and not (depth == 16 and plain):
        raise _invalid("16 bits a channel are supported in greyscale without transparency only; "
                       "save the picture with 8 bits a channel.")  # fmt: skip


def _tiff_depth(image: Image.Image) -> int:
    """Bits a channel. Raises EditError for a camera's raw file, and for several pages."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    reduced = int(tags.get(_NEW_SUBFILE, 0)) & 1
    if _DNG in tags or tags.get(_PHOTOMETRIC) in _SENSOR or reduced:
        raise refused("a camera's raw file", "develop it and save it as JPEG or PNG")
    depth = max(tags.get(_BITS, (1,)))
    try:
        image.seek(1)
        thumbnail = int(image.tag_v2.get(_NEW_SUBFILE, 0)) & 1  # type: ignore[attr-defined]
    except Exception:  # there is none, or none that can be read
        thumbnail = 1
    if not thumbnail:
        raise _invalid("the picture has several pages; send one of them.")
    image.seek(0)
    return depth


def _loaded(image: Image.Image, data: bytes) -> Image.Image:
    # Pillow turns by XMP's orientation where EXIF has none; browsers do not.
    for name in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        image.info.pop(name, None)
    try:
        image.load()
        return image
    except MemoryError:
        raise  # the picture is not to blame
    except Exception:
        whole = _without_end(data) if image.format == "JPEG" else None
        if whole is None:
            raise _invalid("the picture is damaged or cut off; send the whole file.") from None
        return whole


def _without_end(data: bytes) -> Image.Image | None:
    """The JPEG without its end marker that lacks no pixel; None when one depends on what would follow."""
    whole = None
    for tail in (b"", b"\x55" * _TAIL, b"\xaa" * _TAIL):
        image = _header("JPEG", data.removesuffix(b"\xff") + tail + b"\xff\xd9")
        try:
            image.load()
        except MemoryError:
            raise
        except Exception:
            return None
        if whole is not None and not _same(image, whole):
            return None
        whole = whole or image
    return whole


def _same(one: Image.Image, other: Image.Image) -> bool:
    """Compared a band at a time: beside the two pictures there is no memory for copies of both."""
    bands = [(0, y, one.width, min(y + 256, one.height)) for y in range(0, one.height, 256)]
    return all(one.crop(band).tobytes() == other.crop(band).tobytes() for band in bands)


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height in a WebP header (RFC 9649). Raises EditError invalid_image."""
    chunk, head = data[12:16], data[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    raise _invalid("the picture's header is damaged or cut off; save it again as PNG or JPEG.")


def _invalid(sentence: str) -> EditError:
    return EditError("invalid_image", sentence)
