"""The inpaint step: Stable Diffusion inpainting in a diffusers pipeline folder."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export import text_encoder, unet, vae
from export.checkpoint import read_json, require, settings, write_tokenizer
from export.errors import ExportError
from export.network import Network
from serving.plans import make_plan

NETWORKS: Mapping[str, Callable[[Path], Network]] = {
    "text_encoder": text_encoder.load,
    "vae_encoder": vae.load_encoder,
    "vae_decoder": vae.load_decoder,
    "unet": unet.load,
}
SAMPLERS = {
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "EulerDiscreteScheduler": "euler",
    "DPMSolverMultistepScheduler": "dpm++2m",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
}
"""diffusers' scheduler class -> the name of its twin in serving.plans."""


UNSERVED = {
    "time_cond_proj_dim": "the guidance scale as an input, as models distilled to few steps do",
    "addition_embed_type": "pooled text and picture sizes as inputs, as Stable Diffusion XL does",
    "class_embed_type": "a class as an input",
}
"""Settings of a UNet that ask for inputs which the inpaint step does not give, and what they mean."""


def write_assets(checkpoint: Path, folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Write scheduler_config.json and tokenizer.json into `folder`; the content of inpaint.json."""
    require(checkpoint, [
        "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors", "scheduler/scheduler_config.json", "tokenizer",
    ])  # fmt: skip
    chosen = settings(checkpoint, defaults)
    scheduler = checkpoint / "scheduler" / "scheduler_config.json"
    sampler = _sampler(scheduler, chosen["num_inference_steps"])
    shutil.copyfile(scheduler, folder / scheduler.name)
    ids = write_tokenizer(checkpoint / "tokenizer", folder / "tokenizer.json")
    vae_config, unet_config = (read_json(checkpoint / part / "config.json") for part in ("vae", "unet"))
    if unet_config["in_channels"] != unet.CHANNELS:
        raise ExportError(
            f"the UNet in {checkpoint} takes {unet_config['in_channels']} channels, and inpainting needs"
            f" {unet.CHANNELS}: give an inpainting checkpoint"
        )
    for name, meaning in UNSERVED.items():
        if unet_config.get(name) is not None:
            raise ExportError(f"the UNet in {checkpoint} wants {meaning} ({name}), which is not supported yet")
    factor = vae.downscale(vae_config)
    return {
        "scaling_factor": vae_config["scaling_factor"],
        "size": unet_config["sample_size"] * factor,
        "vae_factor": factor,
        "latent_channels": vae_config["latent_channels"],
        "context_length": read_json(checkpoint / "text_encoder" / "config.json")["max_position_embeddings"],
        **ids,
        "sampler": sampler,
        **chosen,
    }


def _sampler(file: Path, num_inference_steps: int) -> str:
    """The name of the sampler that `file` asks for, tried out with the code that will run it."""
    config = read_json(file)
    name = config.get("_class_name")
    if name not in SAMPLERS:
        raise ExportError(f"{file}: the scheduler {name} is not supported; supported are {', '.join(SAMPLERS)}")
    try:
        make_plan(SAMPLERS[name], config, num_inference_steps)
    except ValueError as error:
        raise ExportError(f"{file.parent}: {error}") from error
    return SAMPLERS[name]
