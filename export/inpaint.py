"""The inpaint step: Stable Diffusion inpainting in a diffusers pipeline folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export import sdxl, text_encoder, unet, vae, weights
from export.checkpoint import WEIGHTS, Settings, read_json, require, write_tokenizer
from export.errors import ExportError
from export.network import Loaders
from serving.diffusion.assets import InpaintSettings, TokenizerSettings
from serving.diffusion.samplers import make_plan

SAMPLERS = {
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "EulerDiscreteScheduler": "euler",
    "DPMSolverMultistepScheduler": "dpm++2m",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
}
"""diffusers' scheduler class -> the name of its twin in serving.diffusion.samplers."""


@dataclass(frozen=True)
class Family:
    """What checkpoints of one architecture have: folders of tokenizers and text encoders, and their networks."""

    tokenizers: tuple[str, ...]
    encoders: tuple[str, ...]
    networks: Loaders


VAE: Loaders = {"vae_encoder": vae.load_encoder, "vae_decoder": vae.load_decoder}
FAMILIES = {
    None: Family(("tokenizer",), ("text_encoder",), {"text_encoder": text_encoder.load, **VAE, "unet": unet.load}),
    "text_time": Family(
        sdxl.TOKENIZERS, sdxl.ENCODERS, {"text_encoder": sdxl.load_text_encoder, **VAE, "unet": sdxl.load_unet}
    ),
}
"""Stable Diffusion 1 and 2, and XL, by the UNet's `addition_embed_type`."""
UNSERVED = {
    "time_cond_proj_dim": "the guidance scale as an input, as models distilled to few steps do",
    "addition_embed_type": "further inputs",
    "class_embed_type": "a class as an input",
}
"""Settings of a UNet that ask for inputs which the inpaint step does not give, and what they mean."""


def networks(checkpoint: Path) -> Loaders:
    return _family(checkpoint).networks


def write_assets(checkpoint: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Write scheduler_config.json and the tokenizers into `folder`; the content of inpaint.json."""
    alone = sorted(checkpoint.glob(WEIGHTS))
    if alone and not (checkpoint / "unet").exists():
        raise ExportError(
            f"{checkpoint} has no folders of a pipeline but {alone[0].name}: if that is a whole pipeline in one file,"
            f" say --checkpoint {alone[0]}"
        )
    require(checkpoint, ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"])
    family = _family(checkpoint)
    require(checkpoint, [*(f"{name}/config.json" for name in family.encoders), *family.tokenizers])
    for part in ("unet", "vae"):
        weights.find(checkpoint / part, weights.DIFFUSERS)
    for part in family.encoders:
        weights.find(checkpoint / part, weights.TRANSFORMERS)
    scheduler = {**read_json(checkpoint / "scheduler" / "scheduler_config.json"), **settings["scheduler"]}
    sampler = _sampler(scheduler, settings["num_inference_steps"])
    (folder / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n", encoding="utf-8")
    tokenizers = tuple(
        TokenizerSettings(f"{name}.json", **write_tokenizer(checkpoint / name, folder / f"{name}.json"))
        for name in family.tokenizers
    )
    vae_config, unet_config = (read_json(checkpoint / part / "config.json") for part in ("vae", "unet"))
    factor = vae.downscale(vae_config)
    try:
        assets = InpaintSettings(
            scaling_factor=vae_config.get("scaling_factor", 0.18215),  # diffusers' default, for older files
            size=unet_config["sample_size"] * factor,
            vae_factor=factor,
            latent_channels=vae_config["latent_channels"],
            context_length=read_json(checkpoint / "text_encoder" / "config.json")["max_position_embeddings"],
            tokenizers=tokenizers,
            sampler=sampler,
            num_inference_steps=settings["num_inference_steps"],
            guidance_scale=settings["guidance_scale"],
        )
    except ValueError as error:
        raise ExportError(f"{checkpoint}, or the command for it, cannot be served: {error}") from error
    return asdict(assets)


def _family(checkpoint: Path) -> Family:
    """The family of the UNet in `checkpoint`; ExportError for one that the inpaint step cannot feed."""
    config = read_json(checkpoint / "unet" / "config.json")
    if config["in_channels"] != unet.CHANNELS:
        raise ExportError(
            f"the UNet in {checkpoint} takes {config['in_channels']} channels, and inpainting needs"
            f" {unet.CHANNELS}: give an inpainting checkpoint"
        )
    kind = config.get("addition_embed_type")
    for name, meaning in UNSERVED.items():
        served = kind in FAMILIES if name == "addition_embed_type" else config.get(name) is None
        if not served:
            raise ExportError(
                f"the UNet in {checkpoint} wants {meaning} ({name} = {config[name]!r}), which is not supported"
            )
    return FAMILIES[kind]


def _sampler(scheduler: Settings, num_inference_steps: int) -> str:
    """The name of the sampler that `scheduler` asks for, tried out with the code that will run it."""
    name = scheduler.get("_class_name")
    if name not in SAMPLERS:
        raise ExportError(f"the scheduler {name} is not supported; supported are {', '.join(SAMPLERS)}")
    try:
        make_plan(SAMPLERS[name], scheduler, num_inference_steps)
    except ValueError as error:
        raise ExportError(f"the checkpoint's {error}") from error
    return SAMPLERS[name]
