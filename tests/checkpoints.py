"""Tiny random checkpoints in Hugging Face layout, of the classes that Recast exports."""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    ViTImageProcessor,
)

from export.demo.tiny_qwen2 import CHAT_TEMPLATE

CONTEXT_LENGTH = 16
MODEL_INDEX = {
    "_class_name": "StableDiffusionInpaintPipeline",
    "_diffusers_version": diffusers.__version__,
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


PARTS = {
    "inpaint/unet": UNet2DConditionModel,
    "inpaint/vae": AutoencoderKL,
    "inpaint/text_encoder": CLIPTextModel,
    "mask": CLIPSegForImageSegmentation,
    "parse": Qwen2ForCausalLM,
}
"""The folders of weights that `write` makes, and their classes."""


def write(folder: Path) -> None:
    """Write `parse/`, `mask/` and `inpaint/` below `folder`, from one fixed seed."""
    torch.manual_seed(0)
    write_parse(folder / "parse")
    write_mask(folder / "mask")
    write_inpaint(folder / "inpaint")


def write_parse(folder: Path) -> None:
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    Qwen2ForCausalLM(config).half().save_pretrained(folder)


def write_mask(folder: Path) -> None:
    tokenizer = clip_tokenizer()
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": CONTEXT_LENGTH, **special_tokens(tokenizer)}  # fmt: skip
    vision = {"hidden_size": 160, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 2,
              "image_size": 256, "patch_size": 16}  # fmt: skip
    config = CLIPSegConfig(text_config=text, vision_config=vision, projection_dim=64, reduce_dim=32,
                           extract_layers=[0, 1, 2], decoder_intermediate_size=64)  # fmt: skip
    CLIPSegForImageSegmentation(config).half().save_pretrained(folder)
    images = ViTImageProcessor(
        size={"height": 256, "width": 256}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.25, 0.2]
    )
    CLIPSegProcessor(images, tokenizer).save_pretrained(folder)


def write_inpaint(folder: Path) -> None:
    tokenizer = clip_tokenizer()
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=0.9,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    config = CLIPTextConfig(hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                            max_position_embeddings=CONTEXT_LENGTH, **special_tokens(tokenizer))  # fmt: skip
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )
    parts = {"vae": vae, "text_encoder": CLIPTextModel(config), "unet": unet}
    for name, part in parts.items():
        part.half().save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX))


def save_again(kind: Any, folder: Path, *, variant: str | None = None, shards: int = 1) -> None:
    """Write the weights in `folder` once more, as the library itself does it, and nothing else of them."""
    library = {"torch_dtype": torch.float16} if kind in (UNet2DConditionModel, AutoencoderKL) else {"dtype": "float16"}
    model = kind.from_pretrained(folder, **library)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    size = sum(tensor.numel() * 2 for tensor in model.state_dict().values())
    model.save_pretrained(folder, variant=variant, max_shard_size=size if shards == 1 else size // shards)


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: every character is a token."""
    alphabet = sorted(ByteLevel.alphabet())
    symbols = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocab = {symbol: i for i, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=CONTEXT_LENGTH)


def special_tokens(tokenizer: CLIPTokenizer) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
