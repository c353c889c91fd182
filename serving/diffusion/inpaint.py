"""One edit from picture and mask to finished pictures: crop, generate, composite, prove."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from serving.diffusion.options import Options
from serving.diffusion.pipeline import Assets, Infer, decode, encode, generate, masked_image
from serving.imaging.composite import background_difference, changed_part, feather, match_colours, paste
from serving.imaging.crop import Canvas, Crop, choose_crop
from serving.imaging.picture import Picture

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """What to do: `mask` is uint8 [H, W], 255 where `picture` is replaced, 0 where it stays, between blended.

    `object_mask`, of the same shape, is the old object itself; without it the whole mask is replaced.
    """

    picture: Picture
    mask: np.ndarray
    caption: str
    options: Options
    object_mask: np.ndarray | None = None


@dataclass(frozen=True)
class Outcome:
    """`blend`, uint8 [H, W], is the mask really used: all `pictures` equal the input where it is 0."""

    pictures: list[Picture]
    blend: np.ndarray
    crop: Crop
    background_difference: int


class Done(NamedTuple):
    """Denoising step number `step` of `steps` is done.

    `clean`, float32 [num_images, channels, h, w], are the latents of the pictures as the model foresees them now.
    """

    step: int
    steps: int
    clean: np.ndarray


def repaint(assets: Assets, infer: Infer, job: Job) -> Generator[Done, None, Outcome]:
    """Do `job`, yielding after each denoising step; closing it stops there. Raises EditError."""
    crop = choose_crop(job.mask, assets.settings["size"])
    canvas = crop.cut(job.picture, job.mask)
    masked_latents = encode(assets, infer, masked_image(canvas)[None])
    latents = masked_latents[:0]
    steps = len(assets.plan(job.options.num_inference_steps).steps)
    denoised = generate(assets, infer, canvas, masked_latents, job.caption, job.options)
    for step, (sample, clean) in enumerate(denoised, 1):
        latents = sample
        yield Done(step, steps, clean)
    images = [match_colours(image, canvas) for image in decode(assets, infer, latents)]
    return _composite(job, canvas, crop, images)


def _composite(job: Job, canvas: Canvas, crop: Crop, generated: list[np.ndarray]) -> Outcome:
    part = np.ones(canvas.mask.shape, np.float32)
    x0, y0, x1, y1 = crop.mask_box
    pictures, blend = [], np.zeros_like(job.mask)
    for image in generated:
        if job.object_mask is not None:
            part = changed_part(image, canvas, crop.cut_mask(job.object_mask))
        weight = feather(part, canvas, job.mask, crop)
        pictures.append(paste(job.picture, image, weight, crop))
        np.maximum(blend[y0:y1, x0:x1], weight, out=blend[y0:y1, x0:x1])
    difference = max(background_difference(job.picture, picture, blend) for picture in pictures)
    return Outcome(pictures, blend, crop, difference)


def finish(steps: Generator[Done, None, Result]) -> Result:
    """Run the steps to their end, for what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
