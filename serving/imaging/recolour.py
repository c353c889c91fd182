"""Another paint on an object: its light and shade, its highlights, and the parts that are not painted, stay.

A pixel of paint is taken as A · paint + S · white + the rest: what the paint reflects, a highlight, texture (the
dichromatic model, Shafer, "Using color to separate reflection components", 1985). The new pixel is the old one plus
A · (new paint - old paint), so highlights and texture stay without being known. Values are sRGB's own: shading is a
factor there as in linear light, since its curve is nearly a power, and pictures are scaled and drawn in it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from serving.imaging.colour import Rgb, lab
from serving.imaging.morphology import erode

SAMPLE = 6000
"""So many pixels of the object tell its paint."""
NOISE_SIDE = 1024
CLUSTERS = 8
"""Colours that are tried as the object's paint; one that covers less than LEAST_SHARE is not."""
LEAST_SHARE = 0.02
LIT = 0.98
"""The paint is the colour that this share of it does not outshine: paint in full light."""
NEUTRAL = (0.1, 0.3)
"""Between these saturations a colour counts less and less as a grey, whose highlights are as grey as itself."""
FACE = 1.3
"""What is lighter than a dark grey by more than this is a highlight on it and not the same grey in more light."""
BRIGHT = (150.0, 60.0)
"""Light greys from here on, and colours, are more likely paint than dark greys: tyres, gaps and shade are dark grey."""
EYE_CATCHING = 1.5
FLOOR, RELATIVE = 2.0, (0.01, 0.12)
"""How far off, of 255 and of the pixel's own brightness, a pixel of the paint may be. The picture's noise adds to the
first; the second is three times what the paint's own pixels are off, within these."""
FIRST_RELATIVE = 0.1
LEAST_AMOUNT = (0.15, 0.3)
"""A pixel that holds less of the paint than this is another thing; a grey lighter than a grey paint, below this: """
LEAST_AMOUNT_OF_GREY = (0.45, 0.55)
VEILED, SHADED = (0.2, 0.35), (0.6, 0.8)
"""A pixel with so large a highlight and yet so much darker than the paint is another thing: brown is no dark orange."""
LIFT = 32.0
"""A paint darker than this is lifted to it, for in what is black no shading can be told from noise."""
EDGE = 2
"""Px from the paint within which a pixel may be a mixture of the paint and its neighbour."""
ALIKE = (6.0, 18.0)
"""Colours nearer than this, of 255, cannot be told apart in a mixture."""
ROWS, MARGIN = 512, 8
"""Pixels are worked on in strips. A pixel's new colour depends on those so many px around it."""


@dataclass(frozen=True)
class Paint:
    """An object's paint in full light, `colour` float32 [3] lifted by `lift`, and how far its pixels are off it:
    `noise`, of 255, and `relative` to their brightness."""

    colour: np.ndarray
    lift: float
    noise: float
    relative: float

    @property
    def neutral(self) -> float:
        """How grey it is: 0 … 1."""
        return float(1 - _smoothstep((self.colour.max() - self.colour.min()) / self.colour.max(), NEUTRAL))


def recolour(pixels: np.ndarray, object_mask: np.ndarray, mask: np.ndarray, new: Rgb) -> tuple[np.ndarray, np.ndarray]:
    """`pixels`, float32 [h, w, 3] in 0 … 255, with the object's paint replaced by `new`, and where they changed.

    `object_mask`, uint8 [h, w], is 255 on the object; its paint is the one that covers most of it. Only where `mask`,
    uint8 [h, w], is not 0 does anything change: the second result, bool [h, w].
    """
    paint = find_paint(pixels, object_mask)
    new_pixels, changed = pixels.copy(), np.zeros(mask.shape, bool)
    way = np.asarray(new, np.float32) - (paint.colour - paint.lift)
    for top in range(0, len(pixels), ROWS):
        above = max(0, top - MARGIN)
        amount = paint_amount(pixels[above : top + ROWS + MARGIN], mask[above : top + ROWS + MARGIN], paint)
        amount = amount[top - above : top - above + ROWS]
        changed[top : top + ROWS] = amount > 0
        new_pixels[top : top + ROWS] += amount[..., None] * way
    return np.clip(new_pixels, 0, 255, out=new_pixels), changed


def find_paint(pixels: np.ndarray, object_mask: np.ndarray) -> Paint:
    """The paint of the object that `object_mask`, uint8 [h, w], marks in `pixels`, float32 [h, w, 3] in 0 … 255."""
    inside = object_mask >= 128 if (object_mask >= 128).any() else object_mask > 0
    core = erode(inside, 1)
    core = core if core.sum() > 0.3 * inside.sum() else inside
    noise = _noise(pixels, core)
    chosen = np.flatnonzero(core)
    sample = pixels.reshape(-1, 3)[chosen[:: max(1, len(chosen) // SAMPLE)]]
    if not len(sample):
        return Paint(np.full(3, LIFT, np.float32), LIFT, noise, FIRST_RELATIVE)
    return _refined(sample, _dominant(sample, noise))


def paint_amount(pixels: np.ndarray, mask: np.ndarray, paint: Paint) -> np.ndarray:
    """How much of `paint` each pixel shows, float32 [h, w]: 1 in full light, less in shade and where it is mixed with
    another colour, 0 where there is none or `mask`, uint8 [h, w], is 0."""
    if paint.noise > 0.3:  # what is amplified is not to be noise
        pixels = cv2.bilateralFilter(pixels, 5, 4 * paint.noise, 2)
    lifted = pixels + np.float32(paint.lift)
    member, amount, _ = _explained(lifted, paint)
    member = member * _smoothstep(amount, LEAST_AMOUNT) * (mask > 0)
    return np.where(mask > 0, _mixed(lifted, member, amount), 0)


def _dominant(sample: np.ndarray, noise: float) -> Paint:
    """The cluster of the pixels, float32 [n, 3], whose colour, shades and highlights explain most of them."""
    colours = lab(sample)
    cv2.setRNGSeed(1)
    count, until = min(CLUSTERS, len(sample)), (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    _, labels, _ = cv2.kmeans(colours, count, np.empty(0), until, 2, cv2.KMEANS_PP_CENTERS)
    scored = []
    for cluster in range(count):
        chosen = labels[:, 0] == cluster
        if chosen.mean() < LEAST_SHARE:
            continue
        colour = np.median(sample[chosen], axis=0)
        lift = max(0.0, LIFT - float(colour.max()))
        paint = Paint(colour + np.float32(lift), lift, noise, FIRST_RELATIVE)
        member, amount, _ = _explained(sample + np.float32(lift), paint)
        striking = max((colour.max() - colour.min()) / 100, (colour.mean() - BRIGHT[0]) / BRIGHT[1])
        support = float((member * (amount > LEAST_AMOUNT[1])).mean())
        scored.append((support * (1 + EYE_CATCHING * float(np.clip(striking, 0, 1))), cluster, paint))
    return max(scored)[-1]


def _refined(sample: np.ndarray, paint: Paint) -> Paint:
    """The paint in full light, without the highlights in it, and its own spread."""
    for _ in range(2):
        lifted = sample + np.float32(paint.lift)
        member, amount, highlight = _explained(lifted, paint)
        good = (member > 0.5) & (amount > LEAST_AMOUNT[1])
        if good.sum() < 10:
            return paint
        bare = lifted[good]
        if paint.neutral < 0.8:
            share = _share(amount, highlight, paint)[good]
            bare = bare[share <= np.median(share) + 0.02]
        elif paint.colour.mean() < BRIGHT[0]:
            brightness = bare.sum(-1) / paint.colour.sum()
            near = (brightness > 1 / FACE) & (brightness < FACE)
            bare = bare[near] if near.any() else bare
        hue = np.median(bare / np.linalg.norm(bare, axis=-1, keepdims=True), axis=0)
        hue /= np.linalg.norm(hue)
        colour = (hue * np.quantile(bare @ hue, LIT)).astype(np.float32)
        paint = Paint(colour, paint.lift, paint.noise, paint.relative)
    member, amount, highlight = _explained(lifted, paint)
    good = (member > 0.5) & (amount > LEAST_AMOUNT[1])
    off = np.linalg.norm(lifted - amount[:, None] * paint.colour - highlight[:, None], axis=-1)
    spread = 3 * float(np.median((off / np.linalg.norm(lifted, axis=-1))[good])) if good.any() else FIRST_RELATIVE
    return Paint(paint.colour, paint.lift, paint.noise, float(np.clip(spread, *RELATIVE)))


def _explained(lifted: np.ndarray, paint: Paint) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each pixel, float32 [..., 3], is of the paint, 0 … 1, and its amounts of paint and of highlight."""
    colour, neutral = paint.colour, paint.neutral
    amount = _amount(lifted, colour)
    brightness = lifted.sum(-1) / colour.sum()
    # A grey lighter than a grey paint lies between it and white: there the lightness follows a curve of two lines.
    to_white = np.clip((255 - lifted.mean(-1)) / max(255 - float(colour.mean()), 1.0), 0, 1)
    as_grey = np.where(brightness > 1, np.minimum(amount, to_white), amount)
    amount = amount + np.float32(neutral) * (as_grey - amount)
    highlight = np.maximum((lifted - amount[..., None] * colour).mean(-1), 0)
    off = np.linalg.norm(lifted - amount[..., None] * colour - highlight[..., None], axis=-1)
    member = 1 - _smoothstep(off / (FLOOR + paint.noise + paint.relative * np.linalg.norm(lifted, axis=-1)), (1.0, 2.0))
    veiled = _smoothstep(_share(amount, highlight, paint), VEILED) * (1 - _smoothstep(brightness, SHADED))
    other_grey = neutral * np.where(brightness > 1, 1 - _smoothstep(amount, LEAST_AMOUNT_OF_GREY), 0)
    return member * (1 - veiled) * (1 - other_grey), amount, highlight


def _amount(lifted: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A of the A >= 0, S >= 0 for which A · colour + S · white is nearest to each pixel; a small S is preferred."""
    ridge = 3.02  # white · white, and what makes a grey's S as good as 0
    on_colour, on_white = lifted @ colour, lifted.sum(-1)
    own, cross = float(colour @ colour), float(colour.sum())
    determinant = own * ridge - cross * cross
    amount = (on_colour * ridge - on_white * cross) / determinant
    highlight = own * on_white - cross * on_colour
    return np.maximum(np.where(highlight < 0, on_colour / own, amount), 0).astype(np.float32)


def _share(amount: np.ndarray, highlight: np.ndarray, paint: Paint) -> np.ndarray:
    """The highlight's share of a pixel's light."""
    return highlight / (amount * paint.colour.max() + highlight + 1)


def _mixed(lifted: np.ndarray, member: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """The amounts of paint, float32 [h, w], those at its edges by where a pixel lies between the colours beside it."""
    sure = (member > 0.9).astype(np.float32)
    other = (cv2.dilate(sure, np.ones((3, 3), np.uint8)) == 0).astype(np.float32)
    edge = (cv2.dilate(sure, np.ones((2 * EDGE + 1,) * 2, np.uint8)) > 0) & (sure == 0)
    painted = np.dstack([lifted * sure[..., None], amount * sure])
    near, beside = _mean(painted, sure, 1), _mean(lifted * other[..., None], other, EDGE + 1)
    far = _mean(painted, sure, EDGE + 1)
    inside = np.where(cv2.blur(sure, (3, 3))[..., None] > 0.05, near, far)
    way = inside[..., :3] - beside
    length = np.square(way).sum(-1)
    part = np.clip(((lifted - beside) * way).sum(-1) / np.maximum(length, 1), 0, 1)
    told = _smoothstep(np.sqrt(length), ALIKE)
    known = edge & (cv2.blur(other, (2 * EDGE + 3,) * 2) > 1e-3)
    return np.where(known, (told * part + (1 - told) * member) * inside[..., 3], member * amount)


def _mean(weighted: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """The mean of values, given times their weights, over squares of 2 · radius + 1 px."""
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(weighted, side) / np.maximum(cv2.blur(weight, side), 1e-3)[..., None]


def _noise(pixels: np.ndarray, core: np.ndarray) -> float:
    """The deviation of the noise on the object, of 255: how far its pixels are off their neighbours' median."""
    y, x = (int(np.median(at)) for at in np.nonzero(core)) if core.any() else (0, 0)
    part = (slice(max(0, y - NOISE_SIDE // 2), y + NOISE_SIDE // 2),
            slice(max(0, x - NOISE_SIDE // 2), x + NOISE_SIDE // 2))  # fmt: skip
    cut = np.ascontiguousarray(pixels[part])
    off = np.abs(cut - cv2.medianBlur(cut, 3)).mean(-1)[core[part]]
    return 1.48 * float(np.median(off)) if len(off) else 0.0


def _smoothstep(values: np.ndarray | float, between: tuple[float, float]) -> np.ndarray:
    t = np.clip((values - between[0]) / (between[1] - between[0]), 0, 1)
    return t * t * (3 - 2 * t)
