"""The second look: what of an edit the segmenter sees in the painted crop, and how well that is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.imaging.colour import Rgb, colour_shares, foreign_share
from serving.imaging.composite import Sight
from serving.imaging.crop import Canvas
from serving.imaging.guided_filter import guided_filter
from serving.imaging.morphology import dilate
from serving.intents import INTENTS
from serving.language.colours import COLOURS, paint_of
from serving.language.referring import Referent, part_landmark, referent, strip_articles
from serving.segmentation.refine import resize, sigmoid
from serving.segmentation.segmenter import EDGE_SLOPE, MOST_ROWS, Masker, Segment

LEAST_SHARE = 0.06
"""A new thing that takes less of the mask than this is a crumb of one."""
OLD_LEFT = 0.15
"""The share of the old thing's area that is still seen at which the score falls to 1/e."""
DOUBT = 0.25
"""A probability of the old thing below this is nothing seen."""
STRANGE = 0.07
"""The share of pixels that are like nothing around at which the score falls to 1/e: a clean background has 0.01."""
NETWORK_SHARE = 0.6
"""Weight of the network's word on a colour against that of the pixels."""
EDGE_REACH = 48
"""The thing's outline is fitted to the picture within the canvas's side over this."""


@dataclass(frozen=True)
class Wish:
    """What shall be seen after an edit: `new`, None for nothing, in the paint `paint` where that is known.

    `old` is the noun of what shall have gone, "" where the new thing has the same.
    """

    new: Referent | None
    paint: Rgb | None
    old: str

    @classmethod
    def of(cls, intent: str, target: str, caption: str, replacement: str = "") -> Wish | None:
        """The wish of an edit: `caption` is what was drawn, `replacement` the words that were asked for.

        None where it is not said what was wanted: no intent, or words that name no thing.
        """
        old = referent(part_landmark(target)[0]).noun
        if not intent or not old:
            return None
        if not INTENTS[intent].needs_replacement:
            return cls(None, None, old)
        words = strip_articles(caption)
        new = referent(words)
        if not new.noun:
            return None
        asked = strip_articles(replacement or words)
        paint = paint_of(asked.removesuffix(new.noun).strip())
        return cls(new, paint, "" if old == new.noun else old)

    def known(self, knows: Sequence[str]) -> bool:
        """Whether weights that know the nouns `knows` alone can tell; an empty list knows all."""
        return not knows or self.new is None or any(name in knows for name in _names(self.new))


class SecondLook:
    """Looks for what `wish` says with the segmenter and assets that found the old object."""

    def __init__(self, masker: Masker, wish: Wish, segment: Segment):
        self._masker, self._wish, self._segment = masker, wish, segment
        names = _names(wish.new) if wish.new else []
        colour = wish.new.colour if wish.new else None
        self._phrases = [*names, *(f"{colour} {name}" for name in names if colour), *([wish.old] if wish.old else [])]
        self._named, self._coloured = len(names), len(names) if colour else 0

    def __call__(self, canvas: Canvas, object_mask: np.ndarray, images: Sequence[np.ndarray]) -> list[Sight]:
        """What is seen in each of `images`, float32 [size, size, 3] in 0 … 255, painted on `canvas`.

        `object_mask`, float32 [size, size] in 0 … 1, is where the old object was.
        """
        settings = self._masker.settings
        pictures = [np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in images]
        shown = [self._masker.pixels(picture) for picture in pictures]
        rows = [(pixels, phrase) for pixels in shown for phrase in self._phrases]
        answers: list[np.ndarray] = []
        for first in range(0, len(rows), MOST_ROWS):
            pixels, phrases = zip(*rows[first : first + MOST_ROWS], strict=True)
            answers += list(self._segment(np.stack(pixels), *self._masker.tokens(list(phrases))))
        shift = np.log(settings.threshold / (1 - settings.threshold))
        size = canvas.mask.shape[1], canvas.mask.shape[0]
        likely = [sigmoid(resize(logits - shift, size)) for logits in answers]
        count = len(self._phrases)
        return [
            self._sight(canvas, object_mask > 0.5, picture, likely[n * count : (n + 1) * count])
            for n, picture in enumerate(pictures)
        ]

    def _sight(self, canvas: Canvas, old: np.ndarray, picture: np.ndarray, maps: list[np.ndarray]) -> Sight:
        hole = canvas.hole & canvas.inside
        new, colours, rest = maps[: self._named], maps[self._named :][: self._coloured], maps[-1:]
        nothing = np.zeros(hole.shape, np.float32)
        thing = np.maximum.reduce([*new, *colours]) if new else nothing
        seen = (thing >= 0.5) & hole
        score = gone(rest[0] if self._wish.old else nothing, thing, old, hole)
        if self._wish.new is None:
            return Sight(nothing, score * clean(canvas, picture, hole))
        score *= presence(thing, hole)
        if seen.any():
            likely = np.maximum.reduce(colours)[seen].mean() if colours else None
            score *= self._colour(picture[seen], likely)
        return Sight(self._fitted(picture, thing * hole), score)

    def _colour(self, pixels: np.ndarray, likely: float | None) -> float:
        """How well the new thing's pixels, uint8 [n, 3], are of the asked colour, which the network finds `likely`."""
        paint = self._wish.paint
        if paint is None:
            return 1.0 if likely is None else float(likely)
        shares = colour_shares(pixels, {**COLOURS, "": paint})
        seen = shares[""] / max(shares.values())
        return float(seen if likely is None else NETWORK_SHARE * likely + (1 - NETWORK_SHARE) * seen)

    def _fitted(self, picture: np.ndarray, thing: np.ndarray) -> np.ndarray | None:
        """The map of the thing, its edge fitted to the picture's; None where nothing is seen."""
        if not (thing >= 0.5).any():
            return None
        fitted = guided_filter(picture, thing, max(2, len(picture) // EDGE_REACH))
        return np.clip((fitted - 0.5) * EDGE_SLOPE + 0.5, 0, 1)


def presence(thing: np.ndarray, hole: np.ndarray) -> float:
    """How surely a thing is in the `hole`, 0 … 1: `thing` is its probability, float32 [h, w], 0.5 at the threshold."""
    inside = thing[hole]
    seen = inside >= 0.5
    if not seen.any():
        return float(np.max(inside, initial=0.0)) / 2
    return float(inside[seen].mean() * min(1.0, seen.mean() / LEAST_SHARE))


def gone(likely: np.ndarray, thing: np.ndarray, old: np.ndarray, hole: np.ndarray) -> float:
    """How surely the old thing has gone, 0 … 1, by its probability `likely`, where it exceeds the new `thing`'s.

    What of it lies outside the hole was not painted.
    """
    left = np.where((likely > np.maximum(thing, DOUBT)) & (hole | old), likely, 0)
    left = np.maximum(left, old & ~hole).sum()
    return float(np.exp(-left / (OLD_LEFT * max(1, old.sum()))))


def clean(canvas: Canvas, picture: np.ndarray, hole: np.ndarray) -> float:
    """How surely nothing stands in the `hole` of `picture`, 0 … 1, by colours that are nowhere around it."""
    around = canvas.inside & ~dilate(canvas.mask > 0, 2)
    return float(np.exp(-foreign_share(picture, hole, canvas.image, around) / STRANGE))


def _names(thing: Referent) -> list[str]:
    """ "sports car": what the network does not know as a whole it may know by its last word."""
    return list(dict.fromkeys([thing.noun, thing.noun.split()[-1]]))
