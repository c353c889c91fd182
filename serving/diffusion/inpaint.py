"""One edit from picture and mask to finished pictures: crop, denoise, composite, prove. Or another paint, and prove."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from serving.diffusion.assets import Assets
from serving.diffusion.attempts import Attempt, paint_until_right
from serving.diffusion.denoise import Progress
from serving.diffusion.options import Options
from serving.diffusion.pipeline import Infer, decode_latents, denoise_canvas, encode_images, masked_image
from serving.imaging.colour import Rgb
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
from serving.imaging.opacity import OPAQUE, ground_alpha, new_alpha, whole_object
from serving.imaging.picture import Picture
from serving.imaging.recolour import MARGIN, recolour

SecondLook = Callable[[Canvas, np.ndarray, Sequence[np.ndarray]], list[Sight] | None]
"""(canvas, the old object's mask on it, painted images) -> what is seen in each; None where nobody can tell."""


@dataclass(frozen=True)
class InpaintRequest:
    """What to do: `mask_image`, uint8 [H, W], is 255 where `image` is replaced, 0 where it stays, between blended.

    `caption` is what comes there. `object_mask`, of the mask's shape, is the old object itself; without it the whole
    mask is replaced. With a `paint`, sRGB in 0 … 255, the object stays and its paint becomes that: the diffusion model
    is not asked. A loop that starts from the picture (`options.strength`) starts from the object in `underpaint`.
    """

    image: Picture
    mask_image: np.ndarray
    caption: str
    options: Options
    object_mask: np.ndarray | None = None
    paint: Rgb | None = None
    underpaint: Rgb | None = None


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

    A recolour by paint has no denoising steps, and one attempt. `look` and `in_time` decide about other attempts: see
    `paint_until_right`.
    """
    crop = choose_crop(request.mask_image, assets.settings.size)
    if request.paint is not None:
        yield _repainted(request, crop, request.paint, look)
        return
    canvas = crop.cut(request.image, request.mask_image)
    old = canvas.mask if request.object_mask is None else crop.cut_mask(request.object_mask)
    masked_image_latents = encode_images(assets, infer, masked_image(canvas)[None])
    start = canvas if request.underpaint is None else _underpainted(canvas, request.underpaint)

    def paint(seeds: Sequence[int]) -> Generator[Progress, None, list[np.ndarray]]:
        latents = masked_image_latents[:0]
        for progress in denoise_canvas(
            assets, infer, start, masked_image_latents, request.caption, request.options, seeds
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


def _underpainted(canvas: Canvas, paint: Rgb) -> Canvas:
    """The canvas with its object in `paint`: noise leaves much of a thing's colour, and a loop from it would too."""
    mask = np.rint(canvas.mask * 255).astype(np.uint8)
    return replace(canvas, image=recolour(canvas.image, mask, mask, paint)[0])


def _repainted(request: InpaintRequest, crop: Crop, paint: Rgb, look: SecondLook) -> InpaintResult:
    """One picture as often as it is asked for: no seed has a part in it."""
    (x0, y0, x1, y1), (width, height) = crop.mask_box, request.image.size
    box = x0, y0, x1, y1 = max(0, x0 - MARGIN), max(0, y0 - MARGIN), min(width, x1 + MARGIN), min(height, y1 + MARGIN)
    colours, opaque = request.image.colours(box)
    mask = np.where(opaque, request.mask_image[y0:y1, x0:x1], 0)
    old = mask if request.object_mask is None else np.where(opaque, request.object_mask[y0:y1, x0:x1], 0)
    colours, changed = recolour(colours, old, mask, paint)
    blend = np.zeros_like(request.mask_image)
    blend[y0:y1, x0:x1] = np.where(changed, mask, 0)
    image = request.image.blend(box, colours, blend[y0:y1, x0:x1])
    difference = background_difference(request.image, image, blend)
    canvas = crop.cut(image, request.mask_image)
    sights = look(canvas, canvas.mask, [canvas.image])
    attempts = [Attempt(canvas.image, seed, sights[0] if sights else None) for seed in request.options.seeds]
    return InpaintResult([image] * len(attempts), blend, crop, difference, attempts)


def _composite(request: InpaintRequest, canvas: Canvas, crop: Crop, attempts: list[Attempt]) -> InpaintResult:
    x0, y0, x1, y1 = crop.mask_box
    images, blend = [], np.zeros_like(request.mask_image)
    for attempt in attempts:
        layer = _blended_in(request, canvas, crop, attempt)
        weight = feather(layer.part, canvas, request.mask_image, crop)
        images.append(paste(request.image, layer.image, weight, crop, layer.alpha))
        np.maximum(blend[y0:y1, x0:x1], weight, out=blend[y0:y1, x0:x1])
    difference = max(background_difference(request.image, image, blend) for image in images)
    return InpaintResult(images, blend, crop, difference, attempts)


class _Layer(NamedTuple):
    """An attempt's `image`, how much of each pixel to take from it, as `changed_part`, and its alpha (see `paste`)."""

    image: np.ndarray
    part: np.ndarray
    alpha: np.ndarray | None = None


def _blended_in(request: InpaintRequest, canvas: Canvas, crop: Crop, attempt: Attempt) -> _Layer:
    if request.object_mask is None:
        return _Layer(attempt.image, np.ones(canvas.mask.shape, np.float32))
    old, thing = crop.cut_mask(request.object_mask), attempt.sight.thing if attempt.sight else None
    image, alpha, opacity = attempt.image, None, request.image.alpha()
    if opacity is not None:
        opacity = crop.cut_mask(opacity)
        ground = ground_alpha(opacity, canvas, old)
        if ground < OPAQUE:
            old = whole_object(opacity, canvas, old)
            alpha = new_alpha(image, canvas, old, thing, ground)
    if thing is None:
        return _Layer(image, changed_part(image, canvas, old), alpha)
    part = painted_part(image, canvas, old, thing)
    return _Layer(match_colours(image, canvas, part), part, alpha)
