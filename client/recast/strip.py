"""The strip: before, mask and after side by side, each with a small caption."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from .output_files import flattened

Panel = tuple[Image.Image, str]

LARGEST, NARROWEST = 1024, 160
GAP, BAR, TEXT = 8, 28, 15
PAPER, INK = "white", "#333333"


def strip(before: Image.Image, mask: Image.Image, after: Sequence[Image.Image], sentence: str) -> bytes:
    """A PNG file of the pictures in a row, larger ones scaled down to 1024 px a side."""
    panels: list[Panel] = [(ImageOps.exif_transpose(before), "before"), (mask, "mask")]
    panels += [(picture, sentence) for picture in after]
    drawn = [_panel(_shrunk(flattened(picture)), caption) for picture, caption in panels]
    width = sum(panel.width for panel in drawn) + GAP * (len(drawn) - 1)
    row = Image.new("RGB", (width, max(panel.height for panel in drawn)), PAPER)
    left = 0
    for panel in drawn:
        row.paste(panel, (left, 0))
        left += panel.width + GAP
    file = io.BytesIO()
    row.save(file, format="PNG")
    return file.getvalue()


def _shrunk(picture: Image.Image) -> Image.Image:
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _panel(picture: Image.Image, caption: str) -> Image.Image:
    """The picture over a bar with its caption, no narrower than the word "before" needs."""
    width = max(picture.width, NARROWEST)
    panel = Image.new("RGB", (width, picture.height + BAR), PAPER)
    panel.paste(picture, ((width - picture.width) // 2, 0))
    font = ImageFont.load_default(TEXT)
    middle = (width / 2, picture.height + BAR / 2)
    ImageDraw.Draw(panel).text(middle, _fitted(caption, font, width), fill=INK, font=font, anchor="mm")
    return panel


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text on one line, cut with an ellipsis where it grows wider than `width` px."""
    text = " ".join(text.split())[:200]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
