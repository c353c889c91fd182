"""An edit by transformers and diffusers alone, of one request or of several together."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image, ImageFilter, UnidentifiedImageError
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPSegForImageSegmentation, CLIPSegProcessor
from transformers.utils import logging as transformers_logging

from benchmarks.rivals.request import Request
from serving.diffusion.denoise import noise_sampler
from serving.errors import EditError
from serving.language.grammar import START
from serving.language.instruction import Edit, caption, read_answer
from serving.language.model import chat_prompt

PRECISIONS = ("fp32", "bf16", "bf16-compiled")
"""Of the diffusion model; compiled is the UNet alone, which is where the time goes."""
CHECKPOINTS = Path("export/demo/weights")
MAX_NEW_TOKENS = 96
MARGIN = 0.15
"""How far the box to repaint reaches beyond the object, as a share of its longest side."""
OBJECT_SHARE = 0.68
"""The box's longest side over the crop's."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Job:
    """A request understood: `box` is what is repainted, `crop` the square that the model sees; both in px."""

    request: Request
    picture: Image.Image
    caption: str
    box: Box
    crop: Box

    def canvas(self, size: int) -> tuple[Image.Image, Image.Image]:
        """The crop and its mask, `size` px a side."""
        mask = Image.new("L", self.picture.size)
        mask.paste(255, self.box)
        return tuple(  # type: ignore[return-value]
            image.crop(self.crop).resize((size, size), Image.Resampling.LANCZOS) for image in (self.picture, mask)
        )

    def paste(self, painted: Image.Image) -> bytes:
        """The picture with what was painted in the box, its edge softened, as a PNG file."""
        side = self.crop[2] - self.crop[0]
        layer = Image.new("RGB", self.picture.size)
        layer.paste(painted.resize((side, side), Image.Resampling.LANCZOS), self.crop[:2])
        soft, edge = Image.new("L", self.picture.size), max(1, side // 64)
        x0, y0, x1, y1 = self.box
        soft.paste(255, (x0 + 2 * edge, y0 + 2 * edge, x1 - 2 * edge, y1 - 2 * edge))
        out = io.BytesIO()
        picture = Image.composite(layer, self.picture, soft.filter(ImageFilter.BoxBlur(edge)))
        picture.save(out, "PNG", compress_level=1)
        return out.getvalue()


class Pipeline:
    """The checkpoints in `folder`: parse/, mask/ and inpaint/. `precision` is one of PRECISIONS."""

    def __init__(self, folder: Path, precision: str):
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}: {', '.join(PRECISIONS)}")
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "parse", padding_side="left")
        self.language = AutoModelForCausalLM.from_pretrained(folder / "parse", dtype=torch.float32).eval()
        self.processor = CLIPSegProcessor.from_pretrained(folder / "mask")
        self.segmenter = CLIPSegForImageSegmentation.from_pretrained(folder / "mask", dtype=torch.float32).eval()
        self.threshold = json.loads((folder / "mask" / "recast.json").read_text())["threshold"]
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self.diffusion = StableDiffusionInpaintPipeline.from_pretrained(
            folder / "inpaint", torch_dtype=self.dtype, safety_checker=None, requires_safety_checker=False
        )
        self.diffusion.set_progress_bar_config(disable=True)
        self.diffusion.unet.to(memory_format=torch.channels_last)  # what oneDNN's convolutions like best
        self.diffusion.vae.to(memory_format=torch.channels_last)
        if precision == "bf16-compiled":
            self.diffusion.unet.compile()

    def edit(self, image: bytes, prompt: str, *, seed: int, num_inference_steps: int, guidance_scale: float) -> bytes:
        """The edited picture as a PNG file; EditError when the sentence or the picture allows no edit."""
        (answer,) = self.edit_all([Request(image, prompt, seed, num_inference_steps, guidance_scale)])
        if isinstance(answer, EditError):
            raise answer
        return answer

    @torch.inference_mode()
    def edit_all(self, requests: Sequence[Request]) -> list[bytes | EditError]:
        """One answer for each request: read together, looked at together, painted together where settings agree."""
        jobs = self.understand(requests)
        answers: dict[int, bytes | EditError] = {i: job for i, job in enumerate(jobs) if isinstance(job, EditError)}
        groups: dict[tuple[int, float], list[int]] = {}
        for i, job in enumerate(jobs):
            if isinstance(job, Job):
                groups.setdefault((job.request.num_inference_steps, job.request.guidance_scale), []).append(i)
        for (steps, guidance_scale), members in groups.items():
            group = [job for i in members if isinstance(job := jobs[i], Job)]
            for i, job, painted in zip(members, group, self.paint(group, steps, guidance_scale), strict=True):
                answers[i] = job.paste(painted)
        return [answers[i] for i in range(len(requests))]

    def warm_up(self, counts: Sequence[int]) -> None:
        """Paint nothing in particular, so many requests together: what compiles on its first call compiles now."""
        blank, request = Image.new("RGB", (64, 64), "white"), Request(b"", "", 0, 2, 4.0)
        job = Job(request, blank, "a car", (16, 16, 48, 48), (8, 8, 56, 56))
        with torch.inference_mode():
            for count in counts:
                self.paint([job] * count, request.num_inference_steps, request.guidance_scale)

    def understand(self, requests: Sequence[Request]) -> list[Job | EditError]:
        pictures = [opened(request.image) for request in requests]
        edits = self.read([request.prompt for request in requests])
        results: list[Job | EditError] = []
        clear = [
            (request, picture, edit)
            for request, picture, edit in zip(requests, pictures, edits, strict=True)
            if not isinstance(picture, EditError) and not isinstance(edit, EditError)
        ]
        boxes = iter(self.find([picture for _, picture, _ in clear], [edit.target for *_, edit in clear]))
        for request, picture, edit in zip(requests, pictures, edits, strict=True):
            if isinstance(picture, EditError):
                results.append(picture)
            elif isinstance(edit, EditError):
                results.append(edit)
            elif (box := next(boxes)) is None:
                results.append(EditError("object_not_found", f"the picture shows no {edit.target}."))
            else:
                results.append(Job(request, picture, caption(edit), box, square(box, picture.size)))
        return results

    def read(self, sentences: Sequence[str]) -> list[Edit | EditError]:
        """What each sentence asks for, by greedy decoding."""
        if not sentences:
            return []
        prompts = [chat_prompt(self.tokenizer, sentence) for sentence in sentences]
        tokens = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        said = self.language.generate(**tokens, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        said = said[:, tokens.input_ids.shape[1] :]
        return [edit_of(START + text) for text in self.tokenizer.batch_decode(said, skip_special_tokens=True)]

    def find(self, pictures: Sequence[Image.Image], targets: Sequence[str]) -> list[Box | None]:
        """The box to repaint for each target; None where the picture does not show it."""
        if not pictures:
            return []
        inputs = self.processor(text=list(targets), images=list(pictures), padding="max_length", return_tensors="pt")
        logits = self.segmenter(**inputs).logits.reshape(len(pictures), *inputs.pixel_values.shape[-2:])
        seen = (logits.sigmoid() > self.threshold).numpy()
        return [box_of(mask, picture.size) for mask, picture in zip(seen, pictures, strict=True)]

    def paint(self, jobs: Sequence[Job], steps: int, guidance_scale: float) -> list[Image.Image]:
        """What the diffusion model makes of each job's crop; each row's noise depends on its own seed alone."""
        diffusion = self.diffusion
        size = diffusion.unet.config.sample_size * diffusion.vae_scale_factor
        images, masks = zip(*(job.canvas(size) for job in jobs), strict=True)
        shape = (diffusion.vae.config.latent_channels, diffusion.unet.config.sample_size)
        noise = next(noise_sampler([job.request.seed for job in jobs], (*shape, shape[-1])))
        return diffusion(
            prompt=[job.caption for job in jobs],
            image=list(images),
            mask_image=list(masks),
            masked_image_latents=self.encode(images, masks),
            latents=torch.from_numpy(noise).to(self.dtype),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=size,
            width=size,
        ).images

    def encode(self, images: Sequence[Image.Image], masks: Sequence[Image.Image]) -> torch.Tensor:
        """Latents of the images without what the masks hide: the mean, for a sample would depend on the neighbours."""
        known = np.stack([np.asarray(mask) < 128 for mask in masks])[..., None]
        pixels = (np.stack([np.asarray(image) for image in images]) / np.float32(127.5) - 1) * known
        vae = self.diffusion.vae
        return vae.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.dtype)).latent_dist.mean * (
            vae.config.scaling_factor
        )


def opened(data: bytes) -> Image.Image | EditError:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError):
        return EditError("invalid_image", "the picture cannot be read.")


def edit_of(answer: str) -> Edit | EditError:
    """The edit in the language model's free answer, which may be no JSON, or not of the fields asked for."""
    try:
        edit = read_answer(answer)
        return edit if edit.target and caption(edit) else EditError("not_an_edit", "the sentence names no object.")
    except EditError as error:
        return error
    except (ValueError, TypeError, IndexError):
        return EditError("not_an_edit", f"the language model answered {answer!r}.")


def box_of(mask: np.ndarray, size: tuple[int, int]) -> Box | None:
    """The box around the True of a bool [h, w], widened, in the px of a picture of `size`; None where all is False."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return None
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]
    x0, y0, x1, y1 = xs[0] * across, ys[0] * down, (xs[-1] + 1) * across, (ys[-1] + 1) * down
    margin = MARGIN * max(x1 - x0, y1 - y0)
    return (max(0, round(x0 - margin)), max(0, round(y0 - margin)),
            min(size[0], round(x1 + margin)), min(size[1], round(y1 + margin)))  # fmt: skip


def square(box: Box, size: tuple[int, int]) -> Box:
    """The square around the box that holds it and some surroundings, inside the picture where it fits."""
    x0, y0, x1, y1 = box
    longest = max(x1 - x0, y1 - y0)
    side = max(longest, min(round(longest / OBJECT_SHARE), *size))
    corner = [
        (extent - side) // 2 if side >= extent else min(max((start + end - side) // 2, 0), extent - side)
        for start, end, extent in zip((x0, y0), (x1, y1), size, strict=True)
    ]
    return corner[0], corner[1], corner[0] + side, corner[1] + side
