"""What an object is painted with, and how much of a pixel is that paint.

A pixel of paint is taken as A · paint + S · white + the rest: what the paint reflects, a highlight, texture (the
dichromatic model, Shafer, "Using color to separate reflection components", 1985). Values are sRGB's own: shading is a
factor there as in linear light, since its curve is nearly a power, and pictures are scaled and drawn in it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from serving.imaging.colour import lab
from serving.imaging.morphology import erode

SAMPLE, FEW = 6000, 64
"""So many pixels of the object tell its paint; too few tell of no clusters and no noise."""
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
WHITE = np.ones(3, np.float32)
"""A product with it is a sum over the channels, at a fifth of numpy's time."""


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
        return float(1 - smoothstep((self.colour.max() - self.colour.min()) / self.colour.max(), NEUTRAL))


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


def explained(lifted: np.ndarray, paint: Paint) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each pixel, float32 [..., 3], is of the paint, 0 … 1, and its amounts of paint and of highlight."""
    colour, neutral = paint.colour, paint.neutral
    amount = _amount(lifted, colour)
    brightness = lifted @ WHITE / colour.sum()
    # A grey lighter than a grey paint lies between it and white: there the lightness follows a curve of two lines.
    to_white = np.clip((255 - (lifted @ WHITE) / 3) / max(255 - float(colour.mean()), 1.0), 0, 1)
    as_grey = np.where(brightness > 1, np.minimum(amount, to_white), amount)
    amount = amount + np.float32(neutral) * (as_grey - amount)
    highlight = np.maximum(((lifted - amount[..., None] * colour) @ WHITE) / 3, 0)
    off = np.sqrt(np.square(lifted - amount[..., None] * colour - highlight[..., None]) @ WHITE)
    member = 1 - smoothstep(
        off / (FLOOR + paint.noise + paint.relative * np.sqrt(np.square(lifted) @ WHITE)), (1.0, 2.0)
    )
    veiled = smoothstep(_share(amount, highlight, paint), VEILED) * (1 - smoothstep(brightness, SHADED))
    return member * (1 - veiled), amount, highlight


def lighter_thing(lifted: np.ndarray, amount: np.ndarray, paint: Paint) -> np.ndarray:
    """Whether each pixel is too much lighter than a grey paint to be it: 0 … 1."""
    lighter = lifted @ WHITE > paint.colour.sum()
    return paint.neutral * np.where(lighter, 1 - smoothstep(amount, LEAST_AMOUNT_OF_GREY), 0)


def _dominant(sample: np.ndarray, noise: float) -> Paint:
    """The cluster of the pixels, float32 [n, 3], whose colour, shades and highlights explain most of them."""
    count = CLUSTERS if len(sample) >= FEW else 1
    cv2.setRNGSeed(1)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    labels = np.zeros((len(sample), 1), int)
    if count > 1:
        _, labels, _ = cv2.kmeans(lab(sample), count, np.empty(0), until, 2, cv2.KMEANS_PP_CENTERS)
    scored = []
    for cluster in range(count):
        chosen = labels[:, 0] == cluster
        if chosen.mean() < LEAST_SHARE:
            continue
        colour = np.median(sample[chosen], axis=0)
        lift = max(0.0, LIFT - float(colour.max()))
        paint = Paint(colour + np.float32(lift), lift, noise, FIRST_RELATIVE)
        lifted = sample + np.float32(lift)
        member, amount, _ = explained(lifted, paint)
        covered = member * (1 - lighter_thing(lifted, amount, paint)) * (amount > LEAST_AMOUNT[1])
        usual = np.median(sample[covered > 0.5], axis=0) if (covered > 0.5).any() else colour
        striking = max((usual.max() - usual.min()) / 100, (usual.mean() - BRIGHT[0]) / BRIGHT[1])
        support = float(covered.mean())
        scored.append((support * (1 + EYE_CATCHING * float(np.clip(striking, 0, 1))), cluster, paint))
    return max(scored)[-1]


def _refined(sample: np.ndarray, paint: Paint) -> Paint:
    """The paint in full light, without the highlights in it, and its own spread."""
    for _ in range(2):
        lifted = sample + np.float32(paint.lift)
        member, amount, highlight = explained(lifted, paint)
        good = (member * (1 - lighter_thing(lifted, amount, paint)) > 0.5) & (amount > LEAST_AMOUNT[1])
        if good.sum() < 10:
            return paint
        bare = lifted[good]
        if paint.neutral < 0.8:
            share = _share(amount, highlight, paint)[good]
            bare = bare[share <= np.median(share) + 0.02]
        elif (usual := np.median(bare.mean(-1))) < BRIGHT[0]:
            bare = bare[bare.mean(-1) < FACE * usual]
        hue = np.median(bare / np.linalg.norm(bare, axis=-1, keepdims=True), axis=0)
        hue /= np.linalg.norm(hue)
        colour = (hue * np.quantile(bare @ hue, LIT)).astype(np.float32)
        paint = Paint(colour, paint.lift, paint.noise, paint.relative)
    member, amount, highlight = explained(lifted, paint)
    good = (member > 0.5) & (amount > LEAST_AMOUNT[1])
    off = np.linalg.norm(lifted - amount[:, None] * paint.colour - highlight[:, None], axis=-1)
    spread = 3 * float(np.median(off[good] / np.linalg.norm(lifted[good], axis=-1))) if good.any() else FIRST_RELATIVE
    return Paint(paint.colour, paint.lift, paint.noise, float(np.clip(spread, *RELATIVE)))


def _amount(lifted: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A of the A >= 0, S >= 0 for which A · colour + S · white is nearest to each pixel; a small S is preferred."""
    ridge = 3.02  # white · white, and what makes a grey's S as good as 0
    on_colour, on_white = lifted @ colour, lifted @ WHITE
    own, cross = float(colour @ colour), float(colour.sum())
    determinant = own * ridge - cross * cross
    amount = (on_colour * ridge - on_white * cross) / determinant
    highlight = own * on_white - cross * on_colour
    return np.maximum(np.where(highlight < 0, on_colour / own, amount), 0).astype(np.float32)


def _share(amount: np.ndarray, highlight: np.ndarray, paint: Paint) -> np.ndarray:
    """The highlight's share of a pixel's light."""
    return highlight / (amount * paint.colour.max() + highlight + 1)


def _noise(pixels: np.ndarray, core: np.ndarray) -> float:
    """The deviation of the noise on the object, of 255: how far pixels are off their neighbours' median in its plainest
    fifth, which is 1 / 2.3 of the deviation of normal noise."""
    y, x = (int(np.median(at)) for at in np.nonzero(core)) if core.any() else (0, 0)
    part = (slice(max(0, y - NOISE_SIDE // 2), y + NOISE_SIDE // 2),
            slice(max(0, x - NOISE_SIDE // 2), x + NOISE_SIDE // 2))  # fmt: skip
    cut = np.ascontiguousarray(pixels[part])
    off = np.abs(cut - cv2.medianBlur(cut, 3)).mean(-1)[core[part]]
    return 2.3 * float(np.quantile(off, 0.2)) if len(off) >= FEW else 0.0


def smoothstep(values: np.ndarray | float, between: tuple[float, float]) -> np.ndarray:
    t = np.clip((values - between[0]) / (between[1] - between[0]), 0, 1)
    return t * t * (3 - 2 * t)
