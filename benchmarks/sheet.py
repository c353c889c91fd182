"""Contact sheets: edits side by side, for a person to judge."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL, COLUMNS, CAPTION = (220, 176), 4, 30


@dataclass(frozen=True)
class Entry:
    """A picture before and after, uint8 [H, W, 3] each, and what was asked."""

    before: np.ndarray
    after: np.ndarray
    caption: str


def contact_sheet(entries: list[Entry]) -> Image.Image:
    """Pairs of before and after in rows of four, each under its sentence."""
    width, height = 2 * CELL[0] + 12, CELL[1] + CAPTION
    rows = -(-len(entries) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, max(1, rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for n, entry in enumerate(entries):
        x, y = n % COLUMNS * width, n // COLUMNS * height
        draw.text((x + 2, y + 2), "\n".join(wrap(entry.caption, 70)[:2]), fill="black")
        for k, image in enumerate((entry.before, entry.after)):
            small = Image.fromarray(image)
            small.thumbnail(CELL, Image.Resampling.LANCZOS)
            sheet.paste(small, (x + k * (CELL[0] + 2), y + CAPTION))
    return sheet


def full_size(entry: Entry) -> Image.Image:
    """Before and after side by side, as large as they are, under what was asked."""
    height, width = entry.before.shape[:2]
    lines = wrap(entry.caption, max(20, 2 * width // 8))
    head = 19 * len(lines) + 6
    pair = Image.new("RGB", (2 * width + 4, head + height), "white")
    ImageDraw.Draw(pair).text((2, 2), "\n".join(lines), fill="black", font=ImageFont.load_default(15))
    for x, image in ((0, entry.before), (width + 4, entry.after)):
        pair.paste(Image.fromarray(image), (x, head))
    return pair


def below(pictures: list[Image.Image]) -> Image.Image:
    """All pictures, one below the other."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    y = 0
    for picture in pictures:
        sheet.paste(picture, (0, y))
        y += picture.height
    return sheet
