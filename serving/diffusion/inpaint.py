"""One edit from picture and mask to finished pictures: crop, denoise, composite, prove."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from serving.diffusion.assets import Assets
from serving.diffusion.attempts import Attempt, paint_until_right
from serving.diffusion.denoise import Progress
from serving.diffusion.options import Options
from serving.diffusion.pipeline import Infer, decode_latents, denoise_canvas, encode_images, masked_image
from serving.imaging.composite import (
    Sight,
    background_difference,
    changed_part,
    feather,
    match_colours,
    painted_part,
    paste,
)
from serving.imaging.crop import Canvas, Crop, choose_crop
from serving.imaging.picture import Picture

SecondLook = Callable[[Canvas, np.ndarray, Sequence[np.ndarray]], list[Sight] | None]
"""(canvas, the old object's mask on it, painted images) -> what is seen in each; None where nobody can tell."""


@dataclass(frozen=True)
class InpaintRequest:
    """What to do: `mask_image`, uint8 [H, W], is 255 where `image` is replaced, 0 where it stays, between blended.

    `caption` is what comes there. `object_mask`, of the mask's shape, is the old object itself; without it, and with
    `paints_whole_mask`, the whole mask is replaced.
    """

    image: Picture
    mask_image: np.ndarray
    caption: str
    options: Options
    object_mask: np.ndarray | None = None
    paints_whole_mask: bool = False


@dataclass(frozen=True)
class InpaintResult:
    """An image a variant. `blended_mask`, uint8 [H, W], is the mask really used: all `images` equal the input's where
    it is 0, but for `background_difference`, 0 … 255. `attempts` tell each variant's seed and score."""

    images: list[Picture]
    blended_mask: np.ndarray
    crop: Crop
    background_difference: int
    attempts: list[Attempt]


def no_look(canvas: Canvas, object_mask: np.ndarray, images: Sequence[np.ndarray]) -> None:
    """The `SecondLook` of who has no segmenter."""


def inpaint(
    assets: Assets,
    infer: Infer,
    request: InpaintRequest,
    look: SecondLook = no_look,
    in_time: Callable[[float], bool] = lambda seconds: True,
) -> Iterator[Progress | InpaintResult]:
    """Yield after each denoising step, and at last the result; closing it stops there. Raises EditError.

    `look` and `in_time` decide about other attempts: see `paint_until_right`.
    """
    crop = choose_crop(request.mask_image, assets.settings.size)
    canvas = crop.cut(request.image, request.mask_image)
    old = canvas.mask if request.object_mask is None else crop.cut_mask(request.object_mask)
    masked_image_latents = encode_images(assets, infer, masked_image(canvas)[None])

    def paint(seeds: Sequence[int]) -> Generator[Progress, None, list[np.ndarray]]:
        latents = masked_image_latents[:0]
        for progress in denoise_canvas(
            assets, infer, canvas, masked_image_latents, request.caption, request.options, seeds
        ):
            latents = progress.sample
            yield progress
        return [match_colours(image, canvas) for image in decode_latents(assets, infer, latents)]

    attempts = yield from paint_until_right(paint, lambda images: look(canvas, old, images), request.options, in_time)
    yield _composite(request, canvas, crop, attempts)


def result_of(events: Iterable[Progress | InpaintResult]) -> InpaintResult:
    """The result, for who wants no progress: `events`, as `inpaint` yields them, are run to their end."""
    (result,) = (event for event in events if isinstance(event, InpaintResult))
    return result


def _composite(request: InpaintRequest, canvas: Canvas, crop: Crop, attempts: list[Attempt]) -> InpaintResult:
    x0, y0, x1, y1 = crop.mask_box
    images, blend = [], np.zeros_like(request.mask_image)
    for attempt in attempts:
        generated, part = _blended_in(request, canvas, crop, attempt)
        weight = feather(part, canvas, request.mask_image, crop)
        images.append(paste(request.image, generated, weight, crop))
        np.maximum(blend[y0:y1, x0:x1], weight, out=blend[y0:y1, x0:x1])
    difference = max(background_difference(request.image, image, blend) for image in images)
    return InpaintResult(images, blend, crop, difference, attempts)


def _blended_in(request: InpaintRequest, canvas: Canvas, crop: Crop, attempt: Attempt) -> tuple[np.ndarray, np.ndarray]:
    """The attempt's image, and how much of each pixel to take from it, as `changed_part`."""
    if request.object_mask is None or request.paints_whole_mask:
        return attempt.image, np.ones(canvas.mask.shape, np.float32)
    old, sight = crop.cut_mask(request.object_mask), attempt.sight
    if sight is None or sight.thing is None:
        return attempt.image, changed_part(attempt.image, canvas, old)
    part = painted_part(attempt.image, canvas, old, sight.thing)
    return match_colours(attempt.image, canvas, part), part
