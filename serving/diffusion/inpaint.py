"""One edit from picture and mask to finished pictures: crop, denoise, composite, prove. Or another paint, and prove."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from serving.diffusion.assets import Assets
from serving.diffusion.denoise import Progress
from serving.diffusion.options import Options
from serving.diffusion.pipeline import Infer, decode_latents, denoise_canvas, encode_images, masked_image
from serving.imaging.colour import Rgb
from serving.imaging.composite import background_difference, changed_part, feather, match_colours, paste
from serving.imaging.crop import Canvas, Crop, choose_crop
from serving.imaging.picture import Picture
from serving.imaging.recolour import MARGIN, recolour


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
    """An image a seed. `blended_mask`, uint8 [H, W], is the mask really used: all `images` equal the input's where it
    is 0, but for `background_difference`, 0 … 255."""

    images: list[Picture]
    blended_mask: np.ndarray
    crop: Crop
    background_difference: int


def inpaint(assets: Assets, infer: Infer, request: InpaintRequest) -> Iterator[Progress | InpaintResult]:
    """Yield after each denoising step, and at last the result; closing it stops there. Raises EditError.

    A recolour by paint has no denoising steps.
    """
    crop = choose_crop(request.mask_image, assets.settings.size)
    if request.paint is not None:
        yield _repainted(request, crop, request.paint)
        return
    canvas = crop.cut(request.image, request.mask_image)
    masked_image_latents = encode_images(assets, infer, masked_image(canvas)[None])
    latents = masked_image_latents[:0]
    start = canvas if request.underpaint is None else _underpainted(canvas, request.underpaint)
    for progress in denoise_canvas(assets, infer, start, masked_image_latents, request.caption, request.options):
        latents = progress.sample
        yield progress
    generated = [match_colours(image, canvas) for image in decode_latents(assets, infer, latents)]
    yield _composite(request, canvas, crop, generated)


def result_of(events: Iterable[Progress | InpaintResult]) -> InpaintResult:
    """The result, for who wants no progress: `events`, as `inpaint` yields them, are run to their end."""
    (result,) = (event for event in events if isinstance(event, InpaintResult))
    return result


def _underpainted(canvas: Canvas, paint: Rgb) -> Canvas:
    """The canvas with its object in `paint`: noise leaves much of a thing's colour, and a loop from it would too."""
    mask = np.rint(canvas.mask * 255).astype(np.uint8)
    return replace(canvas, image=recolour(canvas.image, mask, mask, paint)[0])


def _repainted(request: InpaintRequest, crop: Crop, paint: Rgb) -> InpaintResult:
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
    return InpaintResult([image] * request.options.num_images, blend, crop, difference)


def _composite(request: InpaintRequest, canvas: Canvas, crop: Crop, generated: list[np.ndarray]) -> InpaintResult:
    part = np.ones(canvas.mask.shape, np.float32)
    x0, y0, x1, y1 = crop.mask_box
    images, blend = [], np.zeros_like(request.mask_image)
    for image in generated:
        if request.object_mask is not None:
            part = changed_part(image, canvas, crop.cut_mask(request.object_mask))
        weight = feather(part, canvas, request.mask_image, crop)
        images.append(paste(request.image, image, weight, crop))
        np.maximum(blend[y0:y1, x0:x1], weight, out=blend[y0:y1, x0:x1])
    difference = max(background_difference(request.image, image, blend) for image in images)
    return InpaintResult(images, blend, crop, difference)
