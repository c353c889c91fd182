"""The kinds of object of the demo world, each drawn with Pillow into its own unit box.

A drawing function receives a `Pen` and draws from far to near. Coordinates are fractions of the object's
box, x to the right and y downwards, so one drawing serves every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageChops

from export.demo.pen import RUBBER, SUPERSAMPLING, Colour, Pen

COLOURS: dict[str, Colour] = {
    "red": (208, 38, 40),
    "orange": (240, 134, 28),
    "yellow": (244, 212, 48),
    "green": (48, 158, 68),
    "blue": (42, 88, 206),
    "purple": (138, 62, 178),
    "white": (238, 238, 236),
    "black": (46, 46, 52),
}
METAL, GLASS, WOOD, CREAM = (
    (172, 176, 184),
    (188, 220, 236),
    (122, 82, 50),
    (246, 240, 214),
)


def _car(p: Pen) -> None:
    p.polygon([(0.2, 0.42), (0.32, 0.04), (0.68, 0.04), (0.84, 0.42)], 0.9)
    p.polygon([(0.27, 0.4), (0.36, 0.12), (0.49, 0.12), (0.49, 0.4)], GLASS)
    p.polygon([(0.53, 0.4), (0.53, 0.12), (0.65, 0.12), (0.76, 0.4)], GLASS)
    p.box(0.0, 0.38, 1.0, 0.8, 1.0, 0.14)
    p.box(0.02, 0.62, 0.98, 0.8, 0.72, 0.08)
    p.box(0.93, 0.45, 0.99, 0.57, (255, 236, 150), 0.03)
    for x in (0.22, 0.78):
        p.circle(x, 0.79, 0.21, RUBBER)
        p.circle(x, 0.79, 0.1, METAL)


def _bicycle(p: Pen) -> None:
    rear, front, pedals, seat, head = (0.22, 0.69), (0.78, 0.69), (0.46, 0.69), (0.38, 0.27), (0.69, 0.25)
    for x, y in (rear, front):
        p.ring(x, y, 0.31, 0.075)
        p.circle(x, y, 0.05, METAL)
    for a, b in ((rear, pedals), (pedals, seat), (seat, rear), (seat, head), (head, pedals), (head, front)):
        p.line([a, b], 0.085)
    p.line([head, (0.67, 0.08), (0.77, 0.05)], 0.06, RUBBER)
    p.line([(0.3, 0.2), (0.44, 0.2)], 0.085, RUBBER)
    p.circle(*pedals, 0.08, METAL)


def _tree(p: Pen) -> None:
    p.polygon([(0.42, 0.55), (0.58, 0.55), (0.63, 1.0), (0.37, 1.0)], WOOD)
    for x, y, r, paint in (
        (0.27, 0.45, 0.2, 0.8),
        (0.73, 0.45, 0.2, 0.8),
        (0.5, 0.5, 0.2, 0.85),
        (0.5, 0.24, 0.24, 1.0),
        (0.34, 0.32, 0.17, 1.0),
        (0.64, 0.34, 0.16, 1.08),
    ):
        p.circle(x, y, r, paint)
    p.circle(0.42, 0.2, 0.09, 1.2)


def _house(p: Pen) -> None:
    p.box(0.68, 0.06, 0.8, 0.35, (150, 84, 66))
    p.box(0.08, 0.4, 0.92, 1.0, 1.0)
    p.polygon([(0.0, 0.44), (0.5, 0.0), (1.0, 0.44)], 0.62)
    p.box(0.42, 0.64, 0.6, 1.0, WOOD)
    for x in (0.16, 0.69):
        p.box(x, 0.55, x + 0.17, 0.76, CREAM)
        p.box(x + 0.02, 0.57, x + 0.15, 0.74, GLASS)


def _cat(p: Pen) -> None:
    p.arc(0.55, 0.55, 1.0, 0.98, -100, 120, 0.085, 0.85)
    p.ellipse(0.14, 0.42, 0.78, 1.0, 0.95)
    for x in (0.3, 0.62):
        p.ellipse(x - 0.13, 0.86, x + 0.13, 1.0, 1.12)
    for x, tip in ((0.24, 0.1), (0.68, 0.82)):
        p.polygon([(tip, 0.0), (x - 0.15, 0.27), (x + 0.17, 0.2)], 0.85)
    p.ellipse(0.08, 0.11, 0.84, 0.53, 1.0)
    for x in (0.3, 0.62):
        p.circle(x, 0.3, 0.045, (226, 226, 110))
        p.circle(x, 0.3, 0.022, RUBBER)
    p.polygon([(0.41, 0.37), (0.51, 0.37), (0.46, 0.42)], (226, 130, 130))


def _dog(p: Pen) -> None:
    p.line([(0.1, 0.44), (0.02, 0.14)], 0.085, 0.9)
    for x in (0.19, 0.57):
        p.box(x, 0.6, x + 0.1, 0.97, 0.75, 0.04)
    p.box(0.06, 0.36, 0.72, 0.74, 1.0, 0.17)
    for x in (0.09, 0.6):
        p.box(x, 0.6, x + 0.11, 1.0, 1.0, 0.04)
    p.polygon([(0.52, 0.5), (0.6, 0.2), (0.78, 0.3), (0.7, 0.62)], 1.0)
    p.ellipse(0.56, 0.04, 0.86, 0.42, 1.0)
    p.box(0.72, 0.2, 1.0, 0.39, 1.08, 0.08)
    p.circle(0.975, 0.24, 0.045, RUBBER)
    p.circle(0.77, 0.17, 0.032, RUBBER)
    p.ellipse(0.54, 0.07, 0.67, 0.45, 0.6)


def _chair(p: Pen) -> None:
    for x in (0.22, 0.72):
        p.box(x, 0.55, x + 0.1, 0.92, 0.6)
    p.box(0.08, 0.0, 0.2, 0.6, 0.85, 0.02)
    p.box(0.8, 0.0, 0.92, 0.6, 0.85, 0.02)
    for y in (0.05, 0.22, 0.39):
        p.box(0.1, y, 0.9, y + 0.1, 1.0, 0.02)
    p.polygon([(0.12, 0.5), (0.88, 0.5), (1.0, 0.66), (0.0, 0.66)], 1.12)
    p.box(0.0, 0.65, 1.0, 0.72, 0.85)
    for x in (0.01, 0.87):
        p.box(x, 0.7, x + 0.12, 1.0, 0.8)


def _lamp(p: Pen) -> None:
    p.ellipse(0.14, 0.9, 0.86, 1.0, (84, 74, 66))
    p.box(0.44, 0.38, 0.56, 0.95, (104, 92, 82))
    p.ellipse(0.3, 0.36, 0.7, 0.46, (255, 240, 170))
    p.polygon([(0.27, 0.0), (0.73, 0.0), (1.0, 0.42), (0.0, 0.42)], 1.0)
    p.polygon([(0.33, 0.0), (0.5, 0.0), (0.46, 0.42), (0.17, 0.42)], 1.3)


def _ball(p: Pen) -> None:
    p.ellipse(0, 0, 1, 1, 1.0)
    p.ellipse(0.3, 0.0, 0.7, 1.0, CREAM)
    p.ellipse(0.41, 0.01, 0.59, 0.99, 0.72)
    p.ellipse(0.18, 0.14, 0.38, 0.32, 1.55)


def _boat(p: Pen) -> None:
    p.line([(0.48, 0.04), (0.48, 0.75)], 0.045, WOOD)
    p.polygon([(0.52, 0.05), (0.95, 0.6), (0.52, 0.6)], CREAM)
    p.polygon([(0.44, 0.14), (0.44, 0.6), (0.12, 0.6)], 1.45)
    p.polygon([(0.0, 0.67), (1.0, 0.67), (0.82, 1.0), (0.16, 1.0)], 1.0)
    p.polygon([(0.0, 0.67), (1.0, 0.67), (0.95, 0.77), (0.05, 0.77)], 0.72)


def _cup(p: Pen) -> None:
    p.arc(0.56, 0.26, 1.0, 0.74, -110, 110, 0.11, 0.85)
    p.polygon([(0.02, 0.1), (0.78, 0.1), (0.68, 0.95), (0.12, 0.95)], 1.0)
    p.ellipse(0.12, 0.88, 0.68, 1.0, 1.0)
    p.polygon([(0.1, 0.15), (0.24, 0.15), (0.28, 0.92), (0.17, 0.92)], 1.3)
    p.ellipse(0.02, 0.0, 0.78, 0.2, 1.18)
    p.ellipse(0.08, 0.04, 0.72, 0.17, (92, 60, 44))


def _umbrella(p: Pen) -> None:
    p.line([(0.5, 0.1), (0.5, 0.88)], 0.05, WOOD)
    p.arc(0.34, 0.76, 0.52, 1.0, 0, 180, 0.05, WOOD)
    p.draw.pieslice([*p._at([(0.0, 0.04)])[0], *p._at([(1.0, 1.0)])[0]], 180, 360, fill=p.colour(1.0))
    p.draw.pieslice([*p._at([(0.32, 0.04)])[0], *p._at([(0.68, 1.0)])[0]], 180, 360, fill=p.colour(1.25))
    for k in range(4):
        x = 0.02 + 0.245 * k
        p.ellipse(x, 0.47, x + 0.225, 0.59, 0.6)
    p.line([(0.5, 0.0), (0.5, 0.05)], 0.04, WOOD)


@dataclass(frozen=True)
class Kind:
    """`aspect` is width over height; `tall` is the usual height as a share of the scene's height.

    `top`, (x0, x1, y) in fractions of its box, is where something can stand on it.
    """

    draw: Callable[[Pen], None]
    aspect: float
    tall: tuple[float, float]
    top: tuple[float, float, float] | None = None


KINDS: dict[str, Kind] = {
    "car": Kind(_car, 1.75, (0.2, 0.32), top=(0.34, 0.66, 0.06)),
    "bicycle": Kind(_bicycle, 1.5, (0.24, 0.36)),
    "tree": Kind(_tree, 0.8, (0.36, 0.52)),
    "house": Kind(_house, 1.05, (0.34, 0.5)),
    "cat": Kind(_cat, 0.8, (0.26, 0.4)),
    "dog": Kind(_dog, 1.25, (0.24, 0.38)),
    "chair": Kind(_chair, 0.72, (0.3, 0.46), top=(0.1, 0.9, 0.6)),
    "lamp": Kind(_lamp, 0.5, (0.36, 0.52)),
    "ball": Kind(_ball, 1.0, (0.2, 0.34)),
    "boat": Kind(_boat, 1.1, (0.28, 0.44)),
    "cup": Kind(_cup, 1.1, (0.22, 0.36)),
    "umbrella": Kind(_umbrella, 0.98, (0.3, 0.46)),
}


def draw_object(
    kind: str, colour: Colour, width: int, height: int, *, flip: bool, tilt: float, light: tuple[float, float]
) -> Image.Image:
    """An RGBA picture of the object, about `width` × `height` px plus a small transparent margin.

    `tilt` is in degrees; `light` is the direction towards the light, (x, y) with y downwards, each −1 … 1.
    """
    pen = Pen(width, height, colour)
    KINDS[kind].draw(pen)
    drawn = pen.finish()
    if flip:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if tilt:
        drawn = drawn.rotate(tilt, Image.Resampling.BILINEAR)
    small = drawn.resize((drawn.width // SUPERSAMPLING, drawn.height // SUPERSAMPLING), Image.Resampling.BOX)
    return _lit(small, light)


def _lit(picture: Image.Image, light: tuple[float, float]) -> Image.Image:
    """Brighter towards the light, darker away from it, by a linear ramp across the box."""
    angle = math.degrees(math.atan2(light[0], light[1]))
    side = max(picture.size)
    ramp = Image.linear_gradient("L").resize((side, side)).rotate(angle, Image.Resampling.BILINEAR, fillcolor=128)
    ramp = ramp.resize(picture.size).point(lambda v: 205 + v * 50 // 255)
    dark = ImageChops.multiply(picture.convert("RGB"), Image.merge("RGB", (ramp,) * 3))
    dark.putalpha(picture.getchannel("A"))
    return dark
