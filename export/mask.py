"""The mask step: CLIPSeg in a transformers folder."""

from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor

from export import segmenter
from export.checkpoint import Settings, read_json, require, write_tokenizer
from export.errors import ExportError
from export.network import Loaders


def networks(checkpoint: Path) -> Loaders:
    return {"segmenter": lambda checkpoint: segmenter.load(checkpoint, _pictures(checkpoint)["size"])}


def write_assets(checkpoint: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Write tokenizer.json into `folder`; the content of mask.json."""
    require(checkpoint, ["config.json", "model.safetensors"])
    ids = write_tokenizer(checkpoint, folder / "tokenizer.json")
    text = read_json(checkpoint / "config.json")["text_config"]
    return {
        **_pictures(checkpoint),
        "context_length": text["max_position_embeddings"],
        **ids,
        **settings,
    }


def _pictures(checkpoint: Path) -> dict[str, Any]:
    """How the checkpoint wants its pictures: square side in pixels, mean and deviation of each channel in 0 ... 1."""
    processor = AutoImageProcessor.from_pretrained(checkpoint, local_files_only=True)
    height, width = processor.size["height"], processor.size["width"]
    if height != width:
        raise ExportError(f"{checkpoint} wants pictures of {width} by {height} pixels, and only squares are supported")
    return {"size": height, "image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}
