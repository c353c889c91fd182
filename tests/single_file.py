"""A pipeline folder's weights in one file, named as Stable Diffusion's own code names them and as communities share."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
UNET = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip
OPEN_CLIP = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.final_layer_norm": "ln_final",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_projection.weight": "text_projection",
    "self_attn": "attn",
    "layer_norm": "ln_",
    "fc1": "c_fc",
    "fc2": "c_proj",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original(pipeline: Path) -> Tensors:
    """The tensors of a Stable Diffusion 1, 2 or XL pipeline folder, by their names in a single file."""
    unet = load_file(pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(pipeline / "vae" / "diffusion_pytorch_model.safetensors")
    per_block = 1 + max(int(name.split(".")[3]) for name in unet if name.startswith("down_blocks.0.resnets."))
    levels = 1 + max(int(name.split(".")[2]) for name in vae if name.startswith("encoder.down_blocks."))
    return {
        **{f"model.diffusion_model.{_of_unet(name, per_block)}": tensor for name, tensor in unet.items()},
        **{f"first_stage_model.{_of_vae(name, levels)}": tensor for name, tensor in vae.items()},
        **_texts(pipeline),
    }


def _texts(pipeline: Path) -> Tensors:
    """OpenAI's CLIP keeps transformers' names; OpenCLIP, in 2 and as the second of XL, has its own."""
    text = load_file(pipeline / "text_encoder" / "model.safetensors")
    text = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.items()}
    if (pipeline / "text_encoder_2").exists():
        second = load_file(pipeline / "text_encoder_2" / "model.safetensors")
        return {
            **{f"conditioner.embedders.0.transformer.{name}": tensor for name, tensor in text.items()},
            **{f"conditioner.embedders.1.model.{name}": tensor for name, tensor in _open_clip(second).items()},
        }
    if json.loads((pipeline / "unet" / "config.json").read_text())["use_linear_projection"]:
        return {f"cond_stage_model.model.{name}": tensor for name, tensor in _open_clip(text).items()}
    return {f"cond_stage_model.transformer.{name}": tensor for name, tensor in text.items()}


def _open_clip(text: Mapping[str, torch.Tensor]) -> Tensors:
    named = {}
    for name, tensor in text.items():
        if ".self_attn.q_proj." in name:
            joined = [text[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            name, tensor = name.replace("q_proj.", "in_proj_"), torch.cat(joined)
        elif ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
            continue
        for theirs, ours in OPEN_CLIP.items():
            name = name.replace(theirs, ours)
        named[name] = tensor.T.contiguous() if name == "text_projection" else tensor
    return named


def _of_unet(name: str, per_block: int) -> str:
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, number, rest = match.groups()
        return f"middle_block.{2 * int(number) if kind == 'resnets' else 1}.{_inside(kind, rest)}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    assert match, name
    way, block, kind, layer, rest = match.groups()
    if way == "down":
        place = 1 + int(block) * (per_block + 1) + (per_block if kind == "downsamplers" else int(layer))
        inner = rest.replace("conv", "op") if kind == "downsamplers" else _inside(kind, rest)
        return f"input_blocks.{place}.{int(kind == 'attentions')}.{inner}"
    place = int(block) * (per_block + 1) + (per_block if kind == "upsamplers" else int(layer))
    return f"output_blocks.{place}.{ {'resnets': 0, 'attentions': 1, 'upsamplers': 1}[kind] }.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    part, last = rest.split(".")
    return f"{RESNET[part]}.{last}"


def _of_vae(name: str, levels: int) -> str:
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        head, part = name.split("mid_block.attentions.0.")
        part, last = part.rsplit(".", 1)
        return f"{head}mid.attn_1.{ATTENTION[part]}.{last}"
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda match: f"up.{levels - 1 - int(match[1])}.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
