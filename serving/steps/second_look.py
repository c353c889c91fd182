"""Where the second look of an edit gets its segmenter: from the very release of `mask` that found the object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache

from serving.errors import EditError
from serving.imaging.composite import Sight
from serving.imaging.crop import Canvas
from serving.segmentation.second_look import SecondLook, Wish
from serving.segmentation.segmenter import Masker
from serving.steps.bls import Caller

RELEASES = 2
"""So many are served at a time, while one takes over from another."""


class Lookers:
    """Reads the assets of releases of `mask` in `repository` when they are first needed.

    The segmenter is called itself, and not through `mask`: an edit that looks is then under way once, not twice.
    """

    def __init__(self, repository: Path):
        self._repository = repository
        self._maskers: LRUCache[int, Masker] = LRUCache(RELEASES)

    def look(
        self, report: dict[str, Any], wish: Wish | None, caller: Caller, canvas: Canvas, old: np.ndarray,
        images: Sequence[np.ndarray],
    ) -> list[Sight] | None:  # fmt: skip
        """What is seen in `images`, see `SecondLook`; None where nobody can tell.

        That is without a wish or a report of `mask`, when its release is gone or its segmenter busy, and for a thing
        that the weights do not know. Raises EditError `cancelled`.
        """
        release = report.get("releases", {}).get("mask")
        masker = None if wish is None else self._masker(release)
        if masker is None or wish is None or not wish.known(masker.settings.knows):
            return None

        def segment(pixel_values: np.ndarray, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
            inputs = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
            return caller.infer("segmenter", inputs, ["logits"], version=release)["logits"]

        try:
            return SecondLook(masker, wish, segment)(canvas, old, images)
        except EditError as error:
            if error.name == "cancelled":
                raise
            return None

    def _masker(self, release: Any) -> Masker | None:
        if not isinstance(release, int) or isinstance(release, bool):
            return None
        if release not in self._maskers:
            try:
                self._maskers[release] = Masker(self._repository / "mask" / str(release))
            except (OSError, ValueError):  # taken from the disk meanwhile
                return None
        return self._maskers[release]
