"""From an object's own outline to the mask of an edit: what may change, with a soft edge.

A mask that follows the old object's outline makes the new one take its shape, so a replacement gets a loose
rounded box; a recolour keeps the outline. A shadow goes with what casts it: where the object is to go, both are in
the mask, and both are the old object to all that follows.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image, ImageFilter

from serving.imaging.morphology import dilate
from serving.imaging.picture import Picture
from serving.intents import INTENTS
from serving.segmentation.shadow import cast_shadow

Box = tuple[float, float, float, float]

OUTLINE_SHARE, OUTLINE_LEAST_PX = 0.015, 2
"""How far a recolour reaches beyond the outline: a share of the object's size, and at least so many px."""
SIDE_SHARE, TOP_SHARE, FOOT_SHARE = 0.1, 0.1, 0.115
"""How far a box reaches beyond the object: to each side and up, of the object's size; down, of the box's height.
The foot holds the new thing's shadow: the demo's diffusion model stands what it draws so far above the lower edge."""
REMOVE_SHARE, REMOVE_FOOT_SHARE = 0.06, 0.13
NARROWEST, WIDEST = 0.75, 1.35
"""Width over height of a replacement's box: room for things that are taller or wider than the old one."""
CORNER_SHARE, FEATHER_SHARE = 0.15, 0.04
"""Radius of a box's corners and width of its soft edge, as shares of its shorter side."""
WORK_SIDE = 1024
"""Soft shapes are drawn at most this many px long, then enlarged: the cost does not follow the picture."""


def edit_masks(
    picture: Picture, object_mask: np.ndarray, others: np.ndarray, intent: str
) -> tuple[np.ndarray, np.ndarray]:
    """`edit_mask`, and what an edit of `intent` makes of the old object: both uint8 [H, W].

    The second is all that is surely replaced where the object goes: its outline and the shadow it casts in `picture`.
    An object that stays keeps its shadow: then it is `object_mask`.
    """
    if not goes(intent):
        return edit_mask(object_mask, intent, others), object_mask
    shadow = cast_shadow(picture, object_mask, others)
    return edit_mask(object_mask, intent, others, shadow), np.maximum(object_mask, shadow)


def goes(intent: str) -> bool:
    """Whether an edit of `intent`, a key of INTENTS or "", takes the old object away, and its shadow with it."""
    return intent != "" and INTENTS[intent].mask != "outline"


def edit_mask(
    object_mask: np.ndarray, intent: str, others: np.ndarray | None = None, shadow: np.ndarray | None = None
) -> np.ndarray:
    """The mask of an edit, uint8 [H, W]: 255 = may change, 0 = stays, between = blended.

    `object_mask` is uint8 [H, W], the object's own outline; `others`, bool [h, w] at any size of the same
    aspect, marks things like it that shall stay; `shadow`, uint8 [H, W], is what goes where the object does. `intent`
    is a key of INTENTS, or "", which leaves the outline as it is.
    """
    box = bounds(object_mask)
    if box is None or intent == "":
        return object_mask
    if not goes(intent):
        return _outline(object_mask, box)
    traces = object_mask if shadow is None else np.maximum(object_mask, shadow)
    loose = loosened(box) if INTENTS[intent].mask == "loose_box" else cleared(box)
    return _boxed(traces, bounds(traces) or box, loose, others)


def bounds(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box (x0, y0, x1, y1) of what is at least half covered in uint8 [H, W]; None where nothing is."""
    x, y, width, height = cv2.boundingRect((mask >= 128).view(np.uint8))
    return (x, y, x + width, y + height) if width else None


def loosened(box: Box) -> Box:
    """The box in which a replacement of another shape finds room, standing where the old thing stood."""
    x0, y0, x1, y1 = box
    width = (x1 - x0) * (1 + 2 * SIDE_SHARE)
    height = (y1 - y0) * (1 + TOP_SHARE) / (1 - FOOT_SHARE)
    height = max(height, width / WIDEST)
    width = max(width, height * NARROWEST)
    middle, foot = (x0 + x1) / 2, y1 + FOOT_SHARE * height
    return middle - width / 2, foot - height, middle + width / 2, foot


def cleared(box: Box) -> Box:
    """The box that holds a thing and the shadow at its foot, seen or not."""
    x0, y0, x1, y1 = box
    side = REMOVE_SHARE * max(x1 - x0, y1 - y0)
    return x0 - side, y0 - side, x1 + side, y1 + REMOVE_FOOT_SHARE * (y1 - y0)


def _outline(object_mask: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    reach = max(OUTLINE_LEAST_PX, OUTLINE_SHARE * math.hypot(x1 - x0, y1 - y0) / math.sqrt(2))
    work = _Work(object_mask.shape, (x0 - 3 * reach, y0 - 3 * reach, x1 + 3 * reach, y1 + 3 * reach))
    return work.put(object_mask, _grown(work.cut(object_mask), reach * work.scale))


def _boxed(object_mask: np.ndarray, box: Box, loose: Box, others: np.ndarray | None) -> np.ndarray:
    short = min(loose[2] - loose[0], loose[3] - loose[1])
    feather = max(2.0, FEATHER_SHARE * short)
    reach = max(OUTLINE_LEAST_PX, OUTLINE_SHARE * math.hypot(box[2] - box[0], box[3] - box[1]))
    pad = max(feather, 3 * reach)
    outer = (min(loose[0], box[0]) - pad, min(loose[1], box[1]) - pad,
             max(loose[2], box[2]) + pad, max(loose[3], box[3]) + pad)  # fmt: skip
    work = _Work(object_mask.shape, outer)
    soft = np.clip(0.5 - _distance(work, loose, CORNER_SHARE * short) / feather, 0, 1)
    if others is not None and others.any():
        soft = soft * (1 - _grown(work.cut_scaled(others), reach * work.scale))
    return work.put(object_mask, np.maximum(soft, _grown(work.cut(object_mask), reach * work.scale)))


def _grown(mask: np.ndarray, reach: float) -> np.ndarray:
    """A mask, float [h, w] in 0 … 1, wider by `reach` px, its new edge soft."""
    solid = dilate(mask >= 0.5, max(1, round(reach)))
    blurred = Image.fromarray(solid.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(max(0.5, 0.4 * reach)))
    return np.maximum(np.asarray(blurred, np.float32) / 255, mask)


def _distance(work: _Work, box: Box, radius: float) -> np.ndarray:
    """Signed distance in picture px to a box with round corners, negative inside, at the work's pixels."""
    x, y = work.centres()
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dx = np.abs(x - middle_x)[None, :] - ((box[2] - box[0]) / 2 - radius)
    dy = np.abs(y - middle_y)[:, None] - ((box[3] - box[1]) / 2 - radius)
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius


class _Work:
    """A window of the picture at a limited size: cut from it, draw there, put back."""

    def __init__(self, shape: tuple[int, ...], outer: Box):
        self.height, self.width = shape[:2]
        self.box = (max(0, math.floor(outer[0])), max(0, math.floor(outer[1])),
                    min(self.width, math.ceil(outer[2])), min(self.height, math.ceil(outer[3])))  # fmt: skip
        w, h = self.box[2] - self.box[0], self.box[3] - self.box[1]
        self.scale = min(1.0, WORK_SIDE / max(w, h))
        self.size = (max(1, round(w * self.scale)), max(1, round(h * self.scale)))

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """x [w] and y [h] of the work's pixels in picture px."""
        x0, y0, x1, y1 = self.box
        return (x0 + (np.arange(self.size[0], dtype=np.float32) + 0.5) * (x1 - x0) / self.size[0],
                y0 + (np.arange(self.size[1], dtype=np.float32) + 0.5) * (y1 - y0) / self.size[1])  # fmt: skip

    def cut(self, mask: np.ndarray) -> np.ndarray:
        """The window of uint8 [H, W] as float [h, w] in 0 … 1."""
        x0, y0, x1, y1 = self.box
        image = Image.fromarray(np.ascontiguousarray(mask[y0:y1, x0:x1]))
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR), np.float32) / 255

    def cut_scaled(self, mask: np.ndarray) -> np.ndarray:
        """The window of a bool mask of another size but the same picture, as float [h, w]."""
        image = Image.fromarray(mask.astype(np.uint8) * 255)
        across, down = mask.shape[1] / self.width, mask.shape[0] / self.height
        x0, y0, x1, y1 = self.box
        part = (x0 * across, y0 * down, x1 * across, y1 * down)
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR, part), np.float32) / 255

    def put(self, mask: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """A copy of uint8 [H, W] with what was drawn, float [h, w] in 0 … 1, laid over where it is more."""
        x0, y0, x1, y1 = self.box
        image = Image.fromarray(np.rint(np.clip(drawn, 0, 1) * 255).astype(np.uint8))
        large = np.asarray(image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR))
        whole = np.zeros_like(mask)
        np.maximum(mask[y0:y1, x0:x1], large, out=whole[y0:y1, x0:x1])
        return whole
