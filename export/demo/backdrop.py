"""The places of the demo world, without their things."""

from __future__ import annotations

import numpy as np
from PIL import Image

from export.demo.plans import Plan

CUT_OUT = "cut-out"
"""No place: things on a white page, as a picture with an alpha channel is seen. No planned scene has it by itself."""
GROUND = {
    "street": (128, 128, 132),
    "room": (176, 128, 84),
    "lawn": (108, 164, 76),
    "beach": (228, 204, 150),
    "snow": (226, 232, 240),
}
SKY = {
    "street": ((150, 190, 228), (206, 220, 232)),
    "room": ((232, 214, 190), (224, 204, 178)),
    "lawn": ((132, 186, 236), (208, 228, 240)),
    "beach": ((112, 182, 240), (204, 232, 246)),
    "snow": ((176, 192, 212), (216, 224, 234)),
}


def backdrop(planned: Plan, width: int, height: int) -> np.ndarray:
    """The place without its things, uint8 [H, W, 3]."""
    if planned.place == CUT_OUT:
        return np.full((height, width, 3), 255, np.uint8)
    rng = np.random.default_rng([planned.seed, 43])
    tint = rng.uniform(-14, 14, 3)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(0, planned.aspect, width, dtype=np.float32)[None, :, None]
    top, low = (np.asarray(c, np.float32) for c in SKY[planned.place])
    if planned.place == "room":
        top, low = top + rng.uniform(-28, 12, 3), low + rng.uniform(-28, 12, 3)
    far = top + (low - top) * np.clip(y / planned.horizon, 0, 1)
    far = np.broadcast_to(far, (height, width, 3)) + _far_detail(planned, rng, x, y)
    depth = np.clip((y - planned.horizon) / (1 - planned.horizon), 0, 1)
    ground = np.asarray(GROUND[planned.place], np.float32) + tint
    near = ground * (0.9 + 0.14 * depth) + _grain(rng, width, height, planned.place)[:, :, None]
    near = near + _near_detail(planned, rng, x, depth)
    edge = planned.horizon + 0.012 * np.sin(x * rng.uniform(2, 6) + rng.uniform(0, 6)) * (
        planned.place in ("lawn", "snow")
    )
    blend = np.clip((y - edge) * height, 0, 1)
    image = (far * (1 - blend) + near * blend) * planned.brightness
    return np.clip(image, 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, width: int, height: int, place: str) -> np.ndarray:
    """Soft blotches of two sizes, float32 [H, W]; their size follows the frame, not the pixel grid."""
    strength = {"street": 5, "room": 4, "lawn": 11, "beach": 7, "snow": 4}[place]
    total = np.zeros((height, width), np.float32)
    for cells, weight in ((9, 1.0), (26, 0.6)):
        coarse = rng.standard_normal((cells, max(4, round(cells * width / height)))).astype(np.float32)
        total += weight * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return total * strength


def _far_detail(planned: Plan, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray | float:
    """What stands at the horizon: a hill, the sea, a row of walls, wallpaper."""
    if planned.place == "room":
        stripes = np.sign(np.sin(x * rng.uniform(28, 44))) * 4
        skirting = (y > planned.horizon - 0.035) * np.float32(22)
        return stripes + skirting
    if planned.place == "beach":
        sea = np.clip((y - (planned.horizon - 0.12)) * 60, 0, 1)
        return sea * (np.array([40, 128, 176], np.float32) - np.array([190, 226, 244], np.float32))
    height = rng.uniform(0.05, 0.14)
    ridge = planned.horizon - height * (0.6 + 0.4 * np.sin(x * rng.uniform(2, 5) + rng.uniform(0, 6)))
    if planned.place == "street":
        steps = rng.uniform(0.08, 0.24, 32)
        ridge = planned.horizon - steps[np.floor(x * 7).astype(int) % 32]
    hill = {"street": (-46, -56, -58), "lawn": (-90, -60, -120), "snow": (-46, -40, -30)}[planned.place]
    return np.clip((y - ridge) * 80, 0, 1) * np.array(hill, np.float32)


def _near_detail(planned: Plan, rng: np.random.Generator, x: np.ndarray, depth: np.ndarray) -> np.ndarray | float:
    """Lines on the ground: planks of a floor, the kerb of a street, ripples of sand."""
    if planned.place == "room":
        slant = (x - planned.aspect / 2) / (0.45 + depth)
        return -13.0 * (np.abs(np.sin(slant * rng.uniform(7, 10))) < 0.1)
    if planned.place == "street":
        kerb = np.clip(1 - np.abs(depth - 0.16) * 26, 0, 1) * 40
        return kerb + np.float32(18) * (depth < 0.16)
    if planned.place == "beach":
        return 4.0 * np.sin(depth * rng.uniform(22, 34) + 2.0 * np.sin(x * rng.uniform(2, 4)))
    return 0.0
