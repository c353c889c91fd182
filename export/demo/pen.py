"""What the demo world's objects are drawn with: shapes in fractions of an object's box, in shades of one colour."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
RUBBER: Colour = (38, 38, 42)
SUPERSAMPLING = 3


class Pen:
    """Draws on a transparent canvas in fractions of the object's box, in shades of one base colour."""

    def __init__(self, width: int, height: int, base: Colour):
        self.margin = max(2, round(0.03 * max(width, height))) * SUPERSAMPLING
        self.width, self.height, self.base = width * SUPERSAMPLING, height * SUPERSAMPLING, base
        size = (self.width + 2 * self.margin, self.height + 2 * self.margin)
        self.canvas = Image.new("RGBA", size, (*shade(base, 0.45), 0))
        self.draw = ImageDraw.Draw(self.canvas)

    def _at(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(self.margin + x * self.width, self.margin + y * self.height) for x, y in points]

    def colour(self, paint: float | Colour) -> Colour:
        """A number is a shade of the base colour (1 as it is, below darker, above lighter)."""
        return shade(self.base, paint) if isinstance(paint, int | float) else paint

    def polygon(self, points: Sequence[tuple[float, float]], paint: float | Colour = 1.0) -> None:
        self.draw.polygon(self._at(points), fill=self.colour(paint))

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, paint: float | Colour = 1.0) -> None:
        self.draw.ellipse([*self._at([(x0, y0)])[0], *self._at([(x1, y1)])[0]], fill=self.colour(paint))

    def circle(self, x: float, y: float, radius: float, paint: float | Colour = 1.0) -> None:
        """`radius` is a fraction of the box's height."""
        rx = radius * self.height / self.width
        self.ellipse(x - rx, y - radius, x + rx, y + radius, paint)

    def box(self, x0: float, y0: float, x1: float, y1: float, paint: float | Colour = 1.0, round_: float = 0.0):
        corners = [*self._at([(x0, y0)])[0], *self._at([(x1, y1)])[0]]
        self.draw.rounded_rectangle(corners, radius=round_ * self.height, fill=self.colour(paint))

    def line(self, points: Sequence[tuple[float, float]], width: float, paint: float | Colour = 1.0) -> None:
        """`width` is a fraction of the box's height; ends and joints are round."""
        pixels = self._at(points)
        thickness = max(1, round(width * self.height))
        self.draw.line(pixels, fill=self.colour(paint), width=thickness, joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            r = thickness / 2
            self.draw.ellipse([x - r, y - r, x + r, y + r], fill=self.colour(paint))

    def ring(self, x: float, y: float, radius: float, width: float, paint: float | Colour = RUBBER) -> None:
        rx = radius * self.height / self.width
        corners = [*self._at([(x - rx, y - radius)])[0], *self._at([(x + rx, y + radius)])[0]]
        self.draw.ellipse(corners, outline=self.colour(paint), width=max(1, round(width * self.height)))

    def arc(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        start: float,
        end: float,
        width: float,
        paint: float | Colour = 1.0,
    ) -> None:
        corners = [*self._at([(x0, y0)])[0], *self._at([(x1, y1)])[0]]
        self.draw.arc(corners, start, end, fill=self.colour(paint), width=max(1, round(width * self.height)))

    def finish(self) -> Image.Image:
        """The canvas with a dark contour, still supersampled."""
        alpha = self.canvas.getchannel("A")
        reach = max(3, round(0.018 * max(self.width, self.height)) | 1)
        contour = Image.new("RGBA", self.canvas.size, (*shade(self.base, 0.45), 0))
        # Pillow's MaxFilter gives the same in two thirds of all the time that a scene takes.
        contour.putalpha(Image.fromarray(cv2.dilate(np.asarray(alpha), np.ones((reach, reach), np.uint8))))
        return Image.alpha_composite(contour, self.canvas)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` darkened (factor below 1) or mixed towards white (above 1: 1.5 is half-way)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in colour)
    else:
        r, g, b = (round(c + (255 - c) * min(1.0, factor - 1)) for c in colour)
    return r, g, b
