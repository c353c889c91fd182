"""A scene of the demo world before it is drawn: what stands where, in fractions of the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Placed:
    """One planned thing: its box is (x0, y0, x1, y1) in fractions of the frame's width and height."""

    kind: str
    colour: str
    box: tuple[float, float, float, float]
    paint: tuple[int, int, int]
    flip: bool
    tilt: float


@dataclass(frozen=True)
class Plan:
    """A scene before it is drawn. `aspect` is width over height; `light` points towards the light."""

    place: str
    aspect: float
    horizon: float
    light: tuple[float, float]
    brightness: float
    things: tuple[Placed, ...]
    seed: int

    def without(self, index: int) -> Plan:
        return replace(self, things=self.things[:index] + self.things[index + 1 :])
