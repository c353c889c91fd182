"""`python -m export.skeleton PRESET DIR`: a checkpoint of a preset's true configuration with random weights.

For tests, and to learn what a machine can do before anything is downloaded. A folder in Hugging Face layout, weights
in half precision from a seed, and a stand-in tokenizer of the true vocabulary's size that knows bytes alone. With
--miniature the same classes and layout at a size for tests.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel

from export.demo.tiny_qwen2 import CHAT_TEMPLATE, SPECIAL

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One component: its folder in the checkpoint, its class, its configuration, and what a miniature has instead."""

    folder: str
    kind: str
    config: Config
    miniature: Config


CLIP_END = 49407

VAE = Part(
    "vae",
    "AutoencoderKL",
    {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "sample_size": 512,
        "scaling_factor": 0.18215,
        "force_upcast": False,
    },
    {"block_out_channels": [16, 16, 32, 32], "layers_per_block": 1, "norm_num_groups": 8},
)
UNET = {
    "sample_size": 64,
    "in_channels": 9,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "norm_num_groups": 32,
}
SMALL_UNET = {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": [32, 64],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "norm_num_groups": 8,
    "cross_attention_dim": 64,
}
CLIP_L = {
    "vocab_size": CLIP_END + 1,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
    "bos_token_id": CLIP_END - 1,
    "eos_token_id": CLIP_END,
    "pad_token_id": CLIP_END,
}
SMALL_TEXT = {
    "vocab_size": 514,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "projection_dim": 32,
    "bos_token_id": 512,
    "eos_token_id": 513,
    "pad_token_id": 513,
}
SMALL_DETR = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_layers": 2}
OPEN_CLIP_G = {
    **CLIP_L,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
PNDM = Part("scheduler", "PNDMScheduler", {**NOISE, "skip_prk_steps": True}, {})


def _stable_diffusion(text: Config, unet: Config, small_unet: Config, *, pad: str = "<|endoftext|>") -> list[Part]:
    """Stable Diffusion 1 or 2."""
    return [
        Part("text_encoder", "CLIPTextModel", text, SMALL_TEXT),
        Part("tokenizer", "CLIPTokenizer", {"pad_token": pad}, {}),
        VAE,
        Part("unet", "UNet2DConditionModel", {**UNET, **unet}, {**SMALL_UNET, **small_unet}),
        PNDM,
    ]


def _qwen(hidden: int, intermediate: int, layers: int, heads: int, key_value_heads: int, **more: Any) -> list[Part]:
    config = {
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        **more,
    }
    small = {"vocab_size": 259, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 256, "eos_token_id": 258}  # fmt: skip
    return [Part("", "Qwen2ForCausalLM", config, small), Part("", "Qwen2Tokenizer", {}, {})]


PARTS: Mapping[str, list[Part]] = {
    "qwq-32b-preview": _qwen(5120, 27648, 64, 40, 8, vocab_size=152064, rms_norm_eps=1e-5),
    "qwen2.5-7b-instruct": _qwen(3584, 18944, 28, 28, 4, vocab_size=152064),
    "qwen2.5-1.5b-instruct": _qwen(1536, 8960, 28, 12, 2, tie_word_embeddings=True),
    "clipseg-rd64-refined": [
        Part(
            "",
            "CLIPSegForImageSegmentation",
            {
                "text_config": {
                    **CLIP_L,
                    "hidden_size": 512,
                    "intermediate_size": 2048,
                    "num_attention_heads": 8,
                    "projection_dim": 512,
                },
                "vision_config": {
                    "hidden_size": 768,
                    "intermediate_size": 3072,
                    "num_hidden_layers": 12,
                    "num_attention_heads": 12,
                    "image_size": 352,
                    "patch_size": 16,
                },
                "projection_dim": 512,
                "reduce_dim": 64,
                "extract_layers": [3, 6, 9],
                "decoder_intermediate_size": 2048,
                "use_complex_transposed_convolution": True,
            },
            {
                "text_config": SMALL_TEXT,
                "vision_config": {
                    "hidden_size": 64,
                    "intermediate_size": 64,
                    "num_hidden_layers": 3,
                    "num_attention_heads": 2,
                    "image_size": 96,
                    "patch_size": 16,
                },
                "projection_dim": 32,
                "reduce_dim": 32,
                "extract_layers": [0, 1, 2],
                "decoder_intermediate_size": 64,
            },
        ),
        Part("", "CLIPTokenizer", {"pad_token": "<|endoftext|>"}, {}),
        Part(
            "",
            "ViTImageProcessor",
            {
                "size": {"height": 352, "width": 352},
                "resample": 2,
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
            },
            {"size": {"height": 96, "width": 96}},
        ),
    ],
    "sam3": [
        Part(
            "",
            "Sam3Model",
            {},  # the class's own defaults are the published ones
            {
                "vision_config": {
                    "backbone_config": {
                        "model_type": "sam3_vit_model",
                        "hidden_size": 64,
                        "intermediate_size": 64,
                        "num_hidden_layers": 4,
                        "num_attention_heads": 2,
                        "image_size": 112,
                        "patch_size": 14,
                        "window_size": 4,
                        "global_attn_indexes": [1, 3],
                        "pretrain_image_size": 56,
                    },
                    "fpn_hidden_size": 32,
                    "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
                },
                "text_config": SMALL_TEXT,
                "geometry_encoder_config": SMALL_DETR,
                "detr_encoder_config": SMALL_DETR,
                "detr_decoder_config": {**SMALL_DETR, "num_queries": 10},
                "mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 2},
            },
        ),
        Part("", "CLIPTokenizer", {"pad_token": "<|endoftext|>"}, {}),
        Part(
            "",
            "ViTImageProcessor",
            {"size": {"height": 1008, "width": 1008}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            {"size": {"height": 112, "width": 112}},
        ),
    ],
    "sd15-inpainting": _stable_diffusion(
        CLIP_L,
        {"cross_attention_dim": 768, "attention_head_dim": 8},
        {"attention_head_dim": 4},
    ),
    "sd2-inpainting": _stable_diffusion(
        {
            **CLIP_L,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
            "pad_token_id": 0,
        },
        {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        {"attention_head_dim": [2, 4]},
        pad="!",
    ),
    "sdxl-inpainting": [
        Part("text_encoder", "CLIPTextModel", CLIP_L, SMALL_TEXT),
        Part("text_encoder_2", "CLIPTextModelWithProjection", OPEN_CLIP_G, SMALL_TEXT),
        Part("tokenizer", "CLIPTokenizer", {"pad_token": "<|endoftext|>"}, {}),
        Part("tokenizer_2", "CLIPTokenizer", {"pad_token": "!"}, {}),
        Part(
            "vae",
            "AutoencoderKL",
            {**VAE.config, "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
            VAE.miniature,
        ),
        Part(
            "unet",
            "UNet2DConditionModel",
            {
                **UNET,
                "sample_size": 128,
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
                "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
                "attention_head_dim": [5, 10, 20],
                "transformer_layers_per_block": [1, 2, 10],
                "cross_attention_dim": 2048,
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 1280 + 6 * 256,
            },
            {
                **SMALL_UNET,
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
                "attention_head_dim": [2, 4],
                "transformer_layers_per_block": [1, 2],
                "cross_attention_dim": 128,
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 32 + 6 * 8,
            },
        ),
        Part("scheduler", "EulerDiscreteScheduler", {**NOISE, "timestep_spacing": "leading"}, {}),
    ],
}
PIPELINES = {"sdxl-inpainting": "StableDiffusionXLInpaintPipeline"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m export.skeleton", description=__doc__)
    parser.add_argument("preset", choices=PARTS)
    parser.add_argument("folder", type=Path, metavar="DIR", help="to write; must not exist")
    parser.add_argument("--miniature", action="store_true", help="the same classes at a size for tests")
    parser.add_argument("--nf4", action="store_true",
                        help="a language model quantised to NF4 already, written layer by layer")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        write(**vars(options))
    except (OSError, ValueError) as error:
        print(f"skeleton: {error}", file=sys.stderr)
        return 1
    return 0


def write(preset: str, folder: Path, *, miniature: bool = False, nf4: bool = False, seed: int = 0) -> None:
    """Write the skeleton of `preset` into the new folder `folder`. Raises OSError, ValueError."""
    parts = PARTS[preset]
    if nf4 and parts[0].kind != "Qwen2ForCausalLM":
        raise ValueError(f"{preset} is no language model: only those are quantised")
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    for part in parts:
        config = {**part.config, **part.miniature} if miniature else part.config
        place = folder / part.folder
        if nf4 and part is parts[0]:
            write_nf4(config, place)
        else:
            WRITERS.get(part.kind, write_model)(part.kind, config, place, miniature)
    if parts[0].folder:
        index: dict[str, Any] = {
            "_class_name": PIPELINES.get(preset, "StableDiffusionInpaintPipeline"),
            "_diffusers_version": diffusers.__version__,
        }
        for part in parts:
            library = "diffusers" if hasattr(diffusers, part.kind) else "transformers"
            index[part.folder] = [library, part.kind]
        write_json(folder / "model_index.json", index)


def write_model(kind: str, config: Config, place: Path, miniature: bool) -> None:
    """A network with its class's own random start."""
    torch.set_default_dtype(torch.float16)  # half of the memory, from the start
    try:
        if hasattr(diffusers, kind):
            getattr(diffusers, kind)(**config).save_pretrained(place)
        else:
            model = getattr(transformers, kind)
            model(model.config_class(**config)).half().save_pretrained(place)
    finally:
        torch.set_default_dtype(torch.float32)


def write_scheduler(kind: str, config: Config, place: Path, miniature: bool) -> None:
    """As published files are: with settings that the class itself no longer knows."""
    content = {"_class_name": kind, "_diffusers_version": diffusers.__version__, **config}
    write_json(place / "scheduler_config.json", content)


def write_image_processor(kind: str, config: Config, place: Path, miniature: bool) -> None:
    transformers.ViTImageProcessor(**config).save_pretrained(place)


def write_clip_tokenizer(kind: str, config: Config, place: Path, miniature: bool) -> None:
    """CLIP's tokenizer without merges: a token a byte, and unused ones up to the true size."""
    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    if not miniature:
        words += [f"<|unused-{n}|>" for n in range(len(words), CLIP_END - 1)]
    vocabulary = {word: n for n, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    length = 16 if miniature else 77
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length, **config).save_pretrained(place)


def write_qwen_tokenizer(kind: str, config: Config, place: Path, miniature: bool) -> None:
    """Qwen's tokenizer without merges, in ChatML."""
    words = sorted(ByteLevel.alphabet())
    if not miniature:
        words += [f"<|unused-{n}|>" for n in range(len(words), 151643)]
    tokenizer = transformers.Qwen2Tokenizer(vocab={word: n for n, word in enumerate(words)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.pad_token, tokenizer.eos_token = SPECIAL[0], SPECIAL[2]
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(place)


WRITERS: Mapping[str, Callable[[str, Config, Path, bool], None]] = {
    "PNDMScheduler": write_scheduler,
    "EulerDiscreteScheduler": write_scheduler,
    "CLIPTokenizer": write_clip_tokenizer,
    "Qwen2Tokenizer": write_qwen_tokenizer,
    "ViTImageProcessor": write_image_processor,
}


def write_nf4(config: Config, place: Path) -> None:
    """A Qwen2 language model in bitsandbytes' NF4 with double quantisation, never whole in memory.

    Four random bits a weight are a weight of normal distribution, because NF4's levels are its quantiles.
    """
    settings = transformers.Qwen2Config(**config)
    nf4 = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    written = {**settings.to_dict(), "architectures": ["Qwen2ForCausalLM"], "dtype": "bfloat16"}
    write_json(place / "config.json", {**written, "quantization_config": nf4.to_dict()})
    with torch.device("meta"):
        model = transformers.Qwen2ForCausalLM(settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    shards: dict[str, list[str]] = {}
    for name in shapes:  # a shard a layer, and one for each of what stands outside
        layer = name.split(".")[2] if name.startswith("model.layers.") else name
        shards.setdefault(layer, []).append(name)
    templates: dict[tuple[int, ...], dict[str, torch.Tensor]] = {}
    where: dict[str, str] = {}
    for number, names in enumerate(shards.values(), start=1):
        tensors: dict[str, torch.Tensor] = {}
        for name in names:
            linear = name.startswith("model.layers.") and len(shapes[name]) == 2
            tensors |= _nf4(name, shapes[name], templates) if linear else {name: _plain(name, shapes[name])}
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(tensors, place / file, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, file)
    size = sum(file.stat().st_size for file in place.glob("*.safetensors"))
    write_json(place / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})


def _plain(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(shape, dtype=torch.bfloat16)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02)


def _nf4(name: str, shape: tuple[int, ...], templates: dict) -> dict[str, torch.Tensor]:
    """A quantised weight's tensors by name: random bits, and the scales of one truly quantised weight of the shape."""
    from bitsandbytes.functional import quantize_4bit

    if shape not in templates:
        _, state = quantize_4bit(_plain(name, shape), quant_type="nf4", compress_statistics=True)
        templates[shape] = state.as_dict(packed=True)
    packed = torch.randint(0, 256, (math.prod(shape) // 2, 1), dtype=torch.uint8)
    return {name: packed} | {f"{name}.{part}": tensor.clone() for part, tensor in templates[shape].items()}


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
