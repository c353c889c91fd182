"""Which of several regions a phrase means: by colour, by place, by size, by what is near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.imaging.colour import colour_shares
from serving.language.colours import COLOURS
from serving.language.referring import Referent
from serving.segmentation.not_found import no_such_colour
from serving.segmentation.regions import Region, region

NETWORK_SHARE = 0.7
"""Weight of the network's word on a colour against that of the pixels."""
SURELY_NOT = 0.2
"""Below this mean the network says that a part of a region is not of the asked colour."""
LEAST_PART = 0.2
"""A smaller share of a region is no object of its own."""


@dataclass(frozen=True)
class _Candidate:
    region: Region
    match: float
    """How well its colour fits the phrase, 0 … 1."""


def choose(
    regions: list[Region],
    referent: Referent,
    coloured: np.ndarray,
    pixels: np.ndarray,
    threshold: float,
    landmarks: Sequence[Region] = (),
) -> Region:
    """The region that `referent` means; EditError object_not_found when none has its colour.

    `coloured` is the map of "colour noun", float [h, w] in 0 … 1, `pixels` the picture, uint8 [h, w, 3]. With
    no word that says which, the one nearest to a landmark, else of the truest colour, else the largest.
    """
    if referent.colour:
        regions = [part for whole in regions for part in split(whole, coloured, threshold)]
        candidates = [_Candidate(r, colour_match(r, referent.colour, coloured, pixels)) for r in regions]
        candidates.sort(key=lambda candidate: -candidate.match)
        if candidates[0].match < threshold:
            raise no_such_colour(referent, regions, pixels, candidates[0].match, threshold)
        regions = [candidate.region for candidate in candidates if candidate.match >= threshold]
    if referent.side:
        return _ORDER[referent.side](regions)
    if landmarks:
        return min(regions, key=lambda r: min(_distance(r, landmark) for landmark in landmarks))
    return regions[0]


def split(whole: Region, coloured: np.ndarray, threshold: float) -> list[Region]:
    """A region's parts, where the asked colour holds in one and surely not in the rest: two things that touch."""
    part = whole.mask & (coloured >= threshold)
    rest = whole.mask & ~part
    if min(part.sum(), rest.sum()) < LEAST_PART * whole.area or coloured[rest].mean() > SURELY_NOT:
        return [whole]
    return [region(part, coloured), region(rest, 1 - coloured)]


def colour_match(candidate: Region, colour: str, coloured: np.ndarray, pixels: np.ndarray) -> float:
    """How well a region fits a colour word, 0 … 1, by the network and by the pixels."""
    shares = colour_shares(pixels[candidate.mask], COLOURS)
    seen = shares[colour] / max(shares.values())
    return float(NETWORK_SHARE * coloured[candidate.mask].mean() + (1 - NETWORK_SHARE) * seen)


def _distance(a: Region, b: Region) -> float:
    """Between two boxes, from edge to edge; a thing is no landmark of itself."""
    if (a.mask & b.mask).any():
        return np.inf
    across = max(a.box[0] - b.box[2], b.box[0] - a.box[2], 0)
    down = max(a.box[1] - b.box[3], b.box[1] - a.box[3], 0)
    return float(np.hypot(across, down))


def _middle(regions: list[Region]) -> Region:
    """The one nearest to the middle of them all: of three in a row, the second."""
    centres = np.array([r.middle for r in regions])
    away = np.abs(centres - (centres.min(0) + centres.max(0)) / 2).sum(1)
    return regions[int(away.argmin())]


_ORDER = {
    "left": lambda regions: min(regions, key=lambda r: r.middle[0]),
    "right": lambda regions: max(regions, key=lambda r: r.middle[0]),
    "top": lambda regions: min(regions, key=lambda r: r.middle[1]),
    "bottom": lambda regions: max(regions, key=lambda r: r.middle[1]),
    "middle": _middle,
    "largest": lambda regions: max(regions, key=lambda r: r.area),
    "smallest": lambda regions: min(regions, key=lambda r: r.area),
}
