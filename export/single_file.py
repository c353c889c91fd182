"""A whole Stable Diffusion pipeline in one safetensors file, as communities share them, laid out as a folder."""

import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from export import unet
from export.checkpoint import PIPELINE, READ, WEIGHTS, one_line, read_json, require
from export.errors import ExportError
from export.weights import shapes

_UNUSED: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
PIPELINES: dict[str, dict[str, Any]] = {
    "StableDiffusionInpaintPipeline": {**_UNUSED, "safety_checker": None},
    "StableDiffusionXLInpaintPipeline": _UNUSED,
}
"""What a layout's model_index.json may name, and the components that are left out."""
PARTS = {
    "a UNet": ("model.diffusion_model.",),
    "a VAE": ("first_stage_model.", "vae."),
    "a text encoder": ("cond_stage_model.", "conditioner.embedders."),
}
"""What a whole pipeline holds, and how the names of its tensors begin."""
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
"""The UNet's first convolution: [out, channels, 3, 3]."""


def convert(file: Path, layout: Path, folder: Path) -> Path:
    """Write the pipeline in `file` into the new folder `folder`, in Hugging Face layout.

    The file holds tensors alone: configuration and tokenizers are those of `layout`, a pipeline folder of the same
    kind, whose own weights are not read. Raises ExportError.
    """
    refuse_unfit(file)
    require(layout, [PIPELINE, "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"])
    name = read_json(layout / PIPELINE)["_class_name"]
    if name not in PIPELINES:
        raise ExportError(f"{layout} is laid out for a {name}, and a single file is taken for {' or '.join(PIPELINES)}")
    if shutil.disk_usage(folder.parent).free < file.stat().st_size:
        raise ExportError(f"{file} takes as much again in {folder.parent}: make room, or name another place in TMPDIR")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    configuration = _without_weights(layout, folder.with_name(f"{folder.name}-layout"))
    try:
        pipeline = getattr(diffusers, name).from_single_file(
            str(file), config=str(configuration), local_files_only=True, torch_dtype=_dtype(file), **PIPELINES[name]
        )
        pipeline.save_pretrained(folder)
    except MemoryError:
        raise
    except Exception as error:  # the libraries' errors have no class in common
        # from_single_file leaves weights that it does not find without content, and save_pretrained stumbles over them
        why = "it lacks some of the weights" if "meta tensor" in str(error) else one_line(error)
        raise ExportError(
            f"{file} does not fit the configuration of {layout} ({why}): fetch it again, or lay it into the folder of a"
            f" checkpoint of its own kind, beside {PIPELINE}"
        ) from error
    return folder


def refuse_unfit(file: Path) -> None:
    """ExportError for what is no safetensors file, is damaged, or lacks a part of the pipeline."""
    if file.suffix != ".safetensors":
        raise ExportError(
            f"{file} is no safetensors file, and only those are read: convert it on a machine that may run what is in"
            " it, with from_single_file and save_pretrained of diffusers"
        )
    names = shapes(file)
    for part, prefixes in PARTS.items():
        if not any(name.startswith(prefixes) for name in names):
            raise ExportError(
                f"{file} holds no whole pipeline, it lacks {part}: give a folder in Hugging Face layout, or a file with"
                f" {', '.join(PARTS)}"
            )
    channels = names.get(FIRST, (0, unet.CHANNELS))[1]
    if channels != unet.CHANNELS:
        raise ExportError(
            f"the UNet in {file} takes {channels} channels, and inpainting needs {unet.CHANNELS}: give an inpainting"
            " checkpoint"
        )


def _dtype(file: Path) -> torch.dtype:
    """float16 where no weight would lose by it."""
    with safe_open(file, "pt") as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys() if name.endswith(".weight")}
    return torch.float16 if kinds <= {"F16", "F8_E4M3"} else torch.float32


def _without_weights(layout: Path, folder: Path) -> Path:
    """`folder`, with what an export reads of `layout` but weights: diffusers might take those for the file's."""
    components = [layout / name for name in read_json(layout / PIPELINE) if (layout / name).is_dir()]
    files = {file for place in components for pattern in READ if pattern != WEIGHTS for file in place.glob(pattern)}
    for file in (layout / PIPELINE, *files):
        copy = folder / file.relative_to(layout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return folder
