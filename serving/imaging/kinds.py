"""Which kind of file a caller sent, by its first bytes: one that is read, or one to name in the refusal."""

from serving.errors import EditError

READ = "PNG, JPEG, WebP, AVIF, HEIC or TIFF"
SAVE = "save it as PNG or JPEG"

_REFUSED: tuple[tuple[str, str, tuple[bytes, ...]], ...] = (
    ("GIF", "send one frame as PNG or JPEG", (b"GIF87a", b"GIF89a")),
    ("BMP", SAVE, (b"BM",)),
    ("PDF", "save the page as PNG or JPEG", (b"%PDF",)),
    ("PostScript", "save the page as PNG or JPEG", (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("Photoshop's PSD", "export it as PNG or JPEG", (b"8BPS",)),
    ("GIMP's XCF", "export it as PNG or JPEG", (b"gimp xcf",)),
    ("JPEG XL", SAVE, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    ("JPEG 2000", SAVE, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("an icon file (ICO)", "save one size as PNG", (b"\0\0\1\0", b"\0\0\2\0")),
    ("OpenEXR", "save it as PNG or JPEG, 8 bits a channel", (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", "save it as PNG or JPEG, 8 bits a channel", (b"#?RADIANCE", b"#?RGBE")),
    ("PNM", SAVE, tuple(b"P%d%c" % (number, space) for number in range(1, 8) for space in b" \n\r\t")),
    ("QOI", SAVE, (b"qoif",)),
    ("DDS", SAVE, (b"DDS ",)),
    ("a camera's raw file", "develop it and save it as JPEG or PNG",
     (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")),
    ("a video", "send one frame as PNG or JPEG",
     (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")),
    ("an archive", "send the picture in it", (b"PK\3\4", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh")),
    ("a Git LFS pointer", "fetch the picture with `git lfs pull`", (b"version https://git-lfs",)),
    ("a data URL", "send the bytes that its base64 stands for", (b"data:",)),
    ("base64 text", "decode it and send the bytes", (b"iVBORw0KGgo", b"/9j/", b"UklGR")),
)  # fmt: skip

_AVIF, _HEIC = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_SEQUENCES = (b"avis", b"hevc", b"hevx", b"msf1")


def kind_of(data: bytes) -> str:
    """Pillow's name of the format: PNG, JPEG, WEBP, AVIF, HEIF or TIFF. Raises EditError invalid_image for others."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        if data[12:16] == b"CgBI":
            raise refused("Apple's own PNG of app bundles", "save it as an ordinary PNG")
        return "PNG"
    if data[:2] == b"\xff\xd8":
        return "JPEG"
    if data[:4] == b"RIFF":
        return _riff(data[8:12])
    if data[4:8] == b"ftyp":
        return _base_media(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        if data[8:10] == b"CR":
            raise refused("a camera's raw file", "develop it and save it as JPEG or PNG")
        return "TIFF"
    for name, advice, beginnings in _REFUSED:
        if data.startswith(beginnings):
            raise refused(name, advice)
    raise _text(data) or EditError("invalid_image", f"the picture is not a {READ} file, or it is cut off.")


def refused(name: str, advice: str) -> EditError:
    """The refusal of a kind by its name."""
    return EditError("invalid_image", f"{name} is not read here; {advice}.")


def _riff(form: bytes) -> str:
    if form == b"WEBP":
        return "WEBP"
    if form == b"AVI ":
        raise refused("a video", "send one frame as PNG or JPEG")
    raise EditError("invalid_image", f"the picture is not a {READ} file, or it is cut off.")


def _base_media(data: bytes) -> str:
    """Of the files that begin with a box `ftyp`: AVIF, HEIC, video and more, by their brands (ISO/IEC 14496-12)."""
    size = min(int.from_bytes(data[:4], "big"), 512)
    major, others = data[8:12], [data[at : at + 4] for at in range(16, size - 3, 4)]
    if major in _SEQUENCES:
        raise EditError("invalid_image", "the picture is animated; send one frame as PNG or JPEG.")
    if major == b"crx ":
        raise refused("a camera's raw file", "develop it and save it as JPEG or PNG")
    for brand in (major, *others) if major in (*_AVIF, *_HEIC, b"mif1", b"mif2", b"miaf") else ():
        if brand in _AVIF:
            return "AVIF"
        if brand in _HEIC:
            return "HEIF"
    if major in (b"mif1", b"mif2", b"miaf"):
        raise refused("HEIF of this coding", SAVE)
    raise refused("a video", "send one frame as PNG or JPEG")


def _text(data: bytes) -> EditError | None:
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return refused("SVG", "export it as PNG")
    if start.startswith((b"<!doctype html", b"<html")):
        return refused("a web page", "send the picture that it shows")
    return None
