"""The shadow that an object casts on the ground around its foot, found by what a shadow does to a picture.

It darkens the ground it lies on by a smooth factor and hardly changes its chroma; it touches what casts it; and it
ends within a distance of about the object's size. The unshadowed ground is a plane in log colours, fitted robustly
to all around the foot, so that a floor's gradient is no shadow and other things do not count. What is found too much
costs a somewhat larger mask, what is found too little stays in the picture: the thresholds lean to the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from serving.imaging.morphology import dilate, gaussian_blur, reconstruct
from serving.imaging.picture import Picture
from serving.segmentation.segmenter import thumbnail

WORK_SIDE = 160
"""Longest side in px at which a shadow is looked for: it is soft."""
SIDE_SHARE, DOWN_SHARE, UP_SHARE = 0.6, 0.5, 0.35
"""How far from the object its shadow is looked for: to each side and down, of its size; up from its foot, of its
height."""
FOOT_SHARE = 0.15
"""A shadow touches the object in this lowest share of its height."""
TOUCH_SHARE, TAIL_SHARE, FRAY_SHARE = 0.03, 0.06, 0.05
"""Of the object's size: how near a shadow comes to it; the penumbra beyond what can be told from the ground; how far
from its mask lie pieces of the object that its mask has missed."""
FAINT, DARK, DARKEST = 0.06, 0.1, 1.05
"""Natural logarithms of ground over shadow in sRGB values: where it ends, what it must reach, what no shadow exceeds
(a third, which is a tenth of the light)."""
FAINT_SPREADS = 0.4
"""The first is at least so many standard deviations of the ground's own texture."""
ELSEWHERE, COMMON, CLEARLY = 0.25, 0.2, 1.5
"""Farther away than the first, of the object's size, no more than the second, a share of the ground, is nearly as dark
as the shadow, which is the third times as dark: among dark tiles a dark tile is none."""
FADING = 6.0
"""How much more darkness a shadow needs at the distance of the object's size: 1 + FADING times as much."""
TINT, TINT_SLOPE = 0.1, 0.4
"""How far the three colours' logarithms may differ in a shadow: under a blue sky, the more the darker it is."""
FOREIGN = 0.35
"""What is of another chroma and so far from the ground in any colour is another thing."""
WIDEST_SPREAD, STEEPEST, ROUNDS = 0.2, 0.06, 8
"""Of the fit: what counts as texture at most, how far the ground's logarithms rise from the middle to the border of
what is seen, and how often outliers are weighed down again."""
SAMPLED = 3
"""One px of so many of the ground is fitted."""
LEAST_GROUND = 16
"""With fewer px of ground to see, nothing is said."""


def cast_shadow(picture: Picture, object_mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The shadow of the object in `object_mask`, uint8 [H, W]: 255 in it, soft at its edge, over the object's rim too.

    All 0 where none is seen. `others`, bool [h, w] on a map of the picture of any size, are things that are no ground.
    """
    mask = np.zeros_like(object_mask)
    x, y, wide, tall = cv2.boundingRect((object_mask >= 128).view(np.uint8))
    if not wide:
        return mask
    view = _View.cut(picture, object_mask, others, (x, y, wide, tall))
    shadow = view.shadow()
    if shadow.any():
        x0, y0, x1, y1 = view.window
        soft = np.rint(255 * gaussian_blur(shadow.astype(np.float32), 1))
        large = Image.fromarray(soft.astype(np.uint8)).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
        mask[y0:y1, x0:x1] = np.asarray(large)
    return mask


def fitted_ground(logs: np.ndarray, ground: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, float]:
    """A plane in log colours, [h, w, 3], and the standard deviation of the ground around it.

    `logs` is float32 [h, w, 3]; where the bool mask `ground` holds, it is fitted by iteratively reweighted least
    squares with Tukey's biweight (Beaton and Tukey 1974), from the median of `near` on.
    """
    height, width = ground.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    known, values = terms[ground][::SAMPLED], logs[ground][::SAMPLED]
    plane = np.zeros((3, 3), np.float32)
    plane[0] = np.median(logs[near], axis=0)
    spread = WIDEST_SPREAD
    for _ in range(ROUNDS):
        away = np.abs(values - known @ plane).max(axis=1)
        spread = min(WIDEST_SPREAD, 1.4826 * float(np.median(away)) + 0.01)
        weight = np.maximum(0, 1 - np.square(away / (3 * spread)))[:, None]
        plane = np.linalg.lstsq(known * weight, values * weight, rcond=None)[0].astype(np.float32)
        plane[1:] = np.clip(plane[1:], -STEEPEST, STEEPEST)
    away = np.abs(values - known @ plane).max(axis=1)
    away = away[away < 3 * spread]
    return terms @ plane, 1.4826 * float(np.median(away)) if len(away) else WIDEST_SPREAD


@dataclass(frozen=True)
class _View:
    """The surroundings of an object's foot, at a limited size.

    `pixels` is float32 [h, w, 3] in 0 … 255, `thing` and `other` are bool [h, w]; `window` is what of the picture is
    seen, `size`, `height` and `foot` are the object's longest side, height and lowest row, in px of the view.
    """

    pixels: np.ndarray
    thing: np.ndarray
    other: np.ndarray
    window: tuple[int, int, int, int]
    size: float
    height: float
    foot: float

    @classmethod
    def cut(
        cls, picture: Picture, object_mask: np.ndarray, others: np.ndarray, box: tuple[int, int, int, int]
    ) -> _View:
        """Around the object whose box is `box`: x, y, width and height."""
        (x, y, wide, tall), (width, height) = box, picture.size
        size = max(wide, tall)
        side, down, up = (round(share * size) for share in (SIDE_SHARE, DOWN_SHARE, UP_SHARE * tall / size))
        foot = y + tall
        window = (max(0, x - side), max(0, foot - up - 1), min(width, x + wide + side), min(height, foot + down))
        x0, y0, x1, y1 = window
        scale = min(1.0, WORK_SIDE / max(x1 - x0, y1 - y0))
        small = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        pixels = cv2.resize(thumbnail(picture, window), small, interpolation=cv2.INTER_AREA).astype(np.float32)
        thing = cv2.resize(object_mask[y0:y1, x0:x1], small, interpolation=cv2.INTER_AREA) > 32
        across, down_ = others.shape[1] / width, others.shape[0] / height
        part = (x0 * across, y0 * down_, x1 * across, y1 * down_)
        other = np.asarray(Image.fromarray(others.astype(np.uint8) * 255).resize(small, box=part)) > 32
        return cls(pixels, thing, other, window, size * scale, tall * scale, (foot - y0) * scale)

    def radius(self, share: float) -> int:
        """A share of the object's size in px, at least 1."""
        return max(1, round(share * self.size))

    def shadow(self) -> np.ndarray:
        """The shadow with its penumbra, bool [h, w]; over the object's rim too, but over no other thing."""
        edge = self.radius(TOUCH_SHARE / 2)
        thing = dilate(self.thing, edge)
        ground = ~thing & ~dilate(self.other, edge)
        near = ground & dilate(thing, self.radius(0.1))
        if near.sum() < LEAST_GROUND:
            return np.zeros_like(ground)
        logs = np.log((self.pixels + 4) / 259)
        plane, spread = fitted_ground(logs, ground, near)
        seen = np.maximum(gaussian_blur(ground.astype(np.float32), 1), 1e-3)[..., None]
        darker = gaussian_blur((plane - logs) * ground[..., None], 1) / seen
        depth, tint = darker.mean(axis=-1), np.ptp(darker, axis=-1)
        alike = tint <= TINT + TINT_SLOPE * np.maximum(depth, 0)
        foreign = (depth > DARKEST) | (depth < -FOREIGN) | (~alike & (np.abs(darker).max(axis=-1) > FOREIGN))
        thing |= foreign & ground & dilate(thing, self.radius(FRAY_SHARE))
        foreign = dilate((foreign & ground & ~thing) | self.other, edge)
        ground &= ~thing & ~foreign
        away = cv2.distanceTransform((~thing).view(np.uint8), cv2.DIST_L2, 3) / self.size
        faint = ground & alike & (depth > max(FAINT, FAINT_SPREADS * spread) * (1 + FADING * away))
        elsewhere = depth[ground & alike & (away > ELSEWHERE)]
        common = float(np.quantile(elsewhere, 1 - COMMON)) if len(elsewhere) >= LEAST_GROUND else 0.0
        dark = faint & (depth > max(DARK, CLEARLY * common)) & dilate(thing, self.radius(TOUCH_SHARE))
        dark[: max(0, round(self.foot - FOOT_SHARE * self.height))] = False
        return dilate(reconstruct(dark, faint), self.radius(TAIL_SHARE)) & ~foreign
