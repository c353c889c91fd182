"""What a caller is told when the object is not found: the wording of object_not_found."""

from collections.abc import Sequence

import numpy as np

from serving.errors import EditError
from serving.imaging.colour import colour_name
from serving.language.colours import COLOURS
from serving.language.referring import Referent
from serving.segmentation.refine import scaled
from serving.segmentation.regions import Region

CANDIDATES = 3
"""So many of the best candidates are named when nothing is found; one fewer where the demo weights are told of."""
OTHERS = 4
"""So many things of another colour are named when none has the asked one."""
NAMED = 16
"""So many of the nouns that demo weights know are named."""
NOUN_CHARS = 40
"""So much of the asked noun is quoted: the whole sentence stays below 400 characters."""


def no_such_thing(
    noun: str,
    doubts: list[tuple[float, Region]],
    size: tuple[int, int],
    threshold: float,
    knows: Sequence[str] = (),
) -> EditError:
    """Nothing reaches the `threshold`. `doubts` are scores and regions that do not, `size` is the picture's in px.

    `knows` are the nouns of demo weights. They are told for those nouns too, which may be seen in a photograph in vain.
    """
    best = sorted(doubts, key=lambda doubt: -doubt[0])[: CANDIDATES - bool(knows)]
    places = []
    for score, coarse in best:
        across, down = size[0] / coarse.mask.shape[1], size[1] / coarse.mask.shape[0]
        x0, y0, x1, y1 = (round(v) for v in scaled(coarse.box, across, down))
        places.append(f"{score:.2f} at {x0},{y0} to {x1},{y1}")
    return EditError(
        "object_not_found",
        f"found no '{shortened(noun)}' in the picture (best score {best[0][0] if best else 0:.2f}, needed "
        f"{threshold:.2f}{'; candidates: ' if places else ''}{', '.join(places)}); "
        f"name something that is visible.{_demo_hint(knows)}",
    )


def shortened(noun: str) -> str:
    """The noun as messages quote it."""
    return noun if len(noun) <= NOUN_CHARS else f"{noun[: NOUN_CHARS - 1]}…"


def _demo_hint(knows: Sequence[str]) -> str:
    if not knows:
        return ""
    nouns = ", ".join(knows[:NAMED]) + (", …" if len(knows) > NAMED else "")
    where = "for photographs export public checkpoints, see export's README"
    return f" The demo weights know drawings of {nouns}; {where}."


def no_such_colour(
    referent: Referent, regions: list[Region], pixels: np.ndarray, best: float, threshold: float
) -> EditError:
    """The things are there, and none of them is of the asked colour. `pixels`, uint8 [h, w, 3], are the map's."""
    seen = ", ".join(f"a {colour_name(pixels[r.mask], COLOURS)} one" for r in regions[:OTHERS])
    return EditError(
        "object_not_found",
        f"found '{shortened(referent.noun)}' but none that is {referent.colour} (best score {best:.2f}, needed "
        f"{threshold:.2f}); there is {seen}.",
    )
