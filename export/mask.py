"""The mask step: a text-prompted segmenter in a transformers folder."""

from pathlib import Path
from typing import Any

from export import segmenter, weights
from export.checkpoint import Settings, read_json, require, write_tokenizer
from export.errors import ExportError
from export.network import Loaders

BILINEAR = 2
"""Pillow's and transformers' number for it."""


def networks(checkpoint: Path) -> Loaders:
    return {"segmenter": lambda checkpoint: segmenter.load(checkpoint, _pictures(checkpoint)["size"])}


def write_assets(checkpoint: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Write tokenizer.json into `folder`; the content of mask.json."""
    require(checkpoint, ["config.json"])
    weights.find(checkpoint, weights.TRANSFORMERS)
    text = segmenter.text_config(segmenter.read_config(checkpoint))
    ids = write_tokenizer(checkpoint, folder / "tokenizer.json")
    return {
        **_pictures(checkpoint),
        "context_length": text.max_position_embeddings,
        **ids,
        **settings,
    }


def _pictures(checkpoint: Path) -> dict[str, Any]:
    """How the checkpoint wants its pictures: square side in pixels, mean and deviation of each channel in 0 ... 1."""
    files = [checkpoint / name for name in ("processor_config.json", "preprocessor_config.json")]
    contents = [read_json(file) for file in files if file.exists()]
    processor = next((each for c in contents if "image_mean" in (each := c.get("image_processor", c))), None)
    if processor is None:
        raise ExportError(f"{checkpoint} says nothing of its pictures: it has no preprocessor_config.json")
    size, resample = processor["size"], processor.get("resample", BILINEAR)
    height, width = (size, size) if isinstance(size, int) else (size.get("height"), size.get("width"))
    if height is None or height != width:
        raise ExportError(f"{checkpoint} wants pictures of the size {size}, and only squares are supported")
    if resample != BILINEAR:
        raise ExportError(
            f"{checkpoint} wants its pictures resampled with {resample}, and only {BILINEAR} is supported"
        )
    return {"size": height, "image_mean": processor["image_mean"], "image_std": processor["image_std"]}
