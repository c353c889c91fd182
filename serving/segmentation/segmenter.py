"""The object that a phrase means, found in a picture: a text-prompted segmenter's map made into one clean mask."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from serving.errors import EditError
from serving.imaging.guided_filter import guided_filter
from serving.imaging.morphology import dilate
from serving.imaging.picture import Picture
from serving.language.referring import Referent, part_landmark, referent
from serving.segmentation.grounding import choose
from serving.segmentation.not_found import no_such_thing
from serving.segmentation.refine import Look, closer_window, confirm, rejoin, resize, scaled, sigmoid
from serving.segmentation.regions import LONG, Region, find_regions
from serving.segmentation.tiles import join, tiles
from serving.settings import check_names

Segment = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(pixel_values [n, 3, S, S], input_ids [n, t], attention_mask [n, t]) -> logits [n, h, w]."""

SMALL_SIDE = 1024
"""The picture is looked at at no more than about this many px a side; only the found object is seen closer."""
MAP_SIDE = 320
"""Longest side in px of the map on which regions are told apart; of a long picture's, LONG times its shorter side."""
PROPOSED = 0.5
"""A region of this share of the threshold is looked at again: the closer look decides."""
RIVAL = 0.85
"""A region whose score is below this share of the best one's only resembles the thing."""
LOOKS = 4
"""So many regions, the largest, get a closer look, all in one call of the network."""
MOST_ROWS = 16
"""Of one call, as the segmenter's configuration has it."""
EDGE_SIDE = 768
"""Longest side in px at which an object's outline is fitted to the picture."""
EDGE_REACH = 3
"""How far from the network's edge the picture's is looked for, in px of the network's map."""
EDGE_SLOPE = 3.0
"""How much steeper than the filtered map the mask's edge is."""


@dataclass(frozen=True)
class Settings:
    """What the release's mask.json says of its segmenter.

    `knows` are the nouns of weights that know no others, such as the demo's; empty where nobody can list them.
    """

    size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    context_length: int
    pad_token_id: int
    bos_token_id: int
    eos_token_id: int
    threshold: float
    template: str
    knows: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Settings:
        values = json.loads(file.read_text(encoding="utf-8"))
        check_names(cls, values, f"settings in {file.name}")
        return cls(**values)


@dataclass(frozen=True)
class Found:
    """`object_mask` is uint8 [H, W]; `others`, bool [h, w] on a small map, things of the same name; `score` 0 … 1."""

    object_mask: np.ndarray
    others: np.ndarray
    score: float
    candidates: int


class Masker:
    """A segmenter's settings and tokenizer; finds objects with whatever runs the network."""

    def __init__(self, folder: Path):
        self.settings = Settings.read(folder / "mask.json")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.settings.context_length)
        # Always full length: the rows of different requests then share one run of the network.
        self.tokenizer.enable_padding(pad_id=self.settings.pad_token_id, length=self.settings.context_length)

    def find(self, picture: Picture, phrase: str, segment: Segment) -> Found:
        """The mask of the object that `phrase` means; EditError object_not_found when there is none."""
        head, landmark = part_landmark(phrase)
        wanted, size = referent(head), map_size(picture.size)
        if not wanted.noun:
            raise EditError("invalid_option", "the target names no object; name the one to find.")
        # "sports car": what the network does not know as a whole it may know by its last word.
        names = dict.fromkeys([wanted.noun, wanted.noun.split()[-1]])
        asked = [words for name in names for words in (name, f"{wanted.colour} {name}")[: 2 if wanted.colour else 1]]
        logits = self._ask(picture, [*asked, *([landmark] if landmark else [])], segment)
        maps = {words: sigmoid(resize(row, size)) for words, row in logits.items()}
        name, seen = self._search(picture, wanted, names, logits, maps, segment)
        colours = np.asarray(Image.fromarray(thumbnail(picture)).resize(size, Image.Resampling.BILINEAR))
        coloured = maps[f"{wanted.colour} {name}" if wanted.colour else name]
        near = find_regions(maps[landmark], self.settings.threshold) if landmark else []
        chosen = choose([r for r, _ in seen], wanted, coloured, colours, self.settings.threshold, near)
        others = np.logical_or.reduce([r.mask & ~chosen.mask for r, _ in seen])
        look = max(seen, key=lambda pair: int((pair[0].mask & chosen.mask).sum()))[1]
        mask = self._outline(picture, chosen, others, look)
        return Found(mask, others, chosen.score, len(seen))

    def _search(
        self,
        picture: Picture,
        wanted: Referent,
        names: Iterable[str],
        logits: Mapping[str, np.ndarray],
        maps: Mapping[str, np.ndarray],
        segment: Segment,
    ) -> tuple[str, list[tuple[Region, Look]]]:
        """The first of `names` that is in the picture and its regions, largest first, each with a look from near."""
        doubts: list[tuple[float, Region]] = []
        for name in names:
            regions = find_regions(maps[name], PROPOSED * self.settings.threshold)[:LOOKS]
            if not regions:
                weak = find_regions(maps[name], max(0.05, 0.5 * float(maps[name].max())))
                doubts += [(float(maps[name][r.mask].max()), r) for r in weak]
                continue
            seen = []
            whole = Look(logits[name], (0, 0, *picture.size))
            looks = list(self._look_closer(picture, name, regions, whole, segment))
            joined = rejoin(regions, [likely for _, likely, _ in looks], self.settings.threshold)
            if len(joined) < len(regions):
                regions, looks = joined, list(self._look_closer(picture, name, joined, whole, segment))
            for coarse, likely, look in looks:
                fine = confirm(coarse, [r for r in regions if r is not coarse], likely, self.settings.threshold)
                if fine:
                    seen.append((fine, look))
                else:
                    doubts.append((float(likely[coarse.mask].mean()), coarse))
            top = max((fine.score for fine, _ in seen), default=0.0)
            if seen:
                alike = [(fine, look) for fine, look in seen if fine.score >= RIVAL * top]
                return name, sorted(alike, key=lambda pair: -pair[0].area)
        raise no_such_thing(wanted.noun, doubts, picture.size, self.settings.threshold, self.settings.knows)

    def _look_closer(
        self, picture: Picture, name: str, regions: list[Region], whole: Look, segment: Segment
    ) -> Iterator[tuple[Region, np.ndarray, Look]]:
        """Each region with its probability from near on the regions' map, and the look; all in one call."""
        shape = regions[0].mask.shape
        scale = shape[1] / picture.size[0], shape[0] / picture.size[1]
        windows = [closer_window(r.box, scale, picture.size) or whole.window for r in regions]
        close = [window for window in windows if window != whole.window]
        looks = {whole.window: whole}
        if close:
            pixels = np.stack([self.pixels(thumbnail(picture, window)) for window in close])
            rows = segment(pixels, *self.tokens([name] * len(close)))
            looks.update({window: Look(row, window) for window, row in zip(close, rows, strict=True)})
        for coarse, window in zip(regions, windows, strict=True):
            yield coarse, looks[window].likely(shape, scale), looks[window]

    def _ask(self, picture: Picture, phrases: list[str], segment: Segment) -> dict[str, np.ndarray]:
        """The logits [h, w] of the whole picture for each phrase, all in one call unless the picture is long."""
        phrases, windows = list(dict.fromkeys(phrases)), tiles(picture.size)
        pixels = [self.pixels(thumbnail(picture, window)) for window in windows]
        rows = [(phrase, tile) for phrase in phrases for tile in pixels]
        answers: list[np.ndarray] = []
        for first in range(0, len(rows), MOST_ROWS):
            names, images = zip(*rows[first : first + MOST_ROWS], strict=True)
            answers += list(segment(np.stack(images), *self.tokens(list(names))))
        count = len(windows)
        return {name: join(np.stack(answers[n * count :][:count]), windows) for n, name in enumerate(phrases)}

    def tokens(self, phrases: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """input_ids and attention_mask, int64 [phrases, context length]."""
        encoded = self.tokenizer.encode_batch([self.settings.template.format(phrase) for phrase in phrases])
        return (np.array([row.ids for row in encoded], np.int64),
                np.array([row.attention_mask for row in encoded], np.int64))  # fmt: skip

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] as the network wants it: float32 [3, S, S], normalised."""
        side = (self.settings.size, self.settings.size)
        square = np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR), np.float32) / 255
        mean, std = (np.array(values, np.float32) for values in (self.settings.image_mean, self.settings.image_std))
        return np.ascontiguousarray(((square - mean) / std).transpose(2, 0, 1))

    def _outline(self, picture: Picture, chosen: Region, others: np.ndarray, look: Look) -> np.ndarray:
        """The chosen region at the picture's own size, its edge fitted to the picture's: uint8 [H, W]."""
        width, height = picture.size
        rows, columns = chosen.mask.shape
        across, down = width / columns, height / rows
        left, top, right, bottom = look.window
        x0, y0, x1, y1 = chosen.box
        pad = 0.1 * max((x1 - x0) * across, (y1 - y0) * down) + 2 * look.cell
        box = (max(left, math.floor(x0 * across - pad)), max(top, math.floor(y0 * down - pad)),
               min(right, math.ceil(x1 * across + pad)), min(bottom, math.ceil(y1 * down + pad)))  # fmt: skip
        size = fit((box[2] - box[0], box[3] - box[1]), EDGE_SIDE)
        scale = size[0] / (box[2] - box[0])
        likely = sigmoid(look.part(box, size) - math.log(self.settings.threshold / (1 - self.settings.threshold)))
        own = dilate(chosen.mask, 3) & ~others
        likely *= resize(own.astype(np.float32), size, scaled(box, columns / width, rows / height))
        guide = np.asarray(Image.fromarray(thumbnail(picture, box)).resize(size, Image.Resampling.BILINEAR))
        fitted = guided_filter(guide, likely, max(2, round(EDGE_REACH * look.cell * scale)))
        fitted = np.clip((fitted - 0.5) * EDGE_SLOPE + 0.5, 0, 1)
        mask = np.zeros((height, width), np.uint8)
        part = Image.fromarray(np.rint(fitted * 255).astype(np.uint8))
        part = part.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC)
        mask[box[1] : box[3], box[0] : box[2]] = np.asarray(part)
        return mask


def thumbnail(picture: Picture, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """`box`, or everything, as uint8 [h, w, 3], shrunk by a whole factor to less than 2 · SMALL_SIDE px a side.

    Works in bands, so that a picture of 8192 px a side needs no second copy.
    """
    x0, y0, x1, y1 = box or (0, 0, *picture.size)
    factor = max(x1 - x0, y1 - y0) // SMALL_SIDE
    if factor <= 1:
        return picture.rgb((x0, y0, x1, y1))
    step = 64 * factor
    bands = [picture.rgb((x0, top, x1, min(top + step, y1))) for top in range(y0, y1, step)]
    return np.concatenate([np.asarray(Image.fromarray(band).reduce(factor)) for band in bands])


def fit(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height shrunk, never enlarged, so that neither exceeds `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def map_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the map of a picture of `size`: a long one's has as much of each part as a square's."""
    return fit(size, round(MAP_SIDE * max(1.0, max(size) / (LONG * min(size)))))
