"""Reading checkpoint folders in Hugging Face layout."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError

Settings = Mapping[str, Any]
"""A step's settings by name, such as num_inference_steps: JSON values."""
WEIGHTS = "*.safetensors"
READ = ("*.json", "*.txt", "*.jinja", "*.model", WEIGHTS)
"""Files of a checkpoint that an export reads. No pickles, and no code."""
VARIANTS = ("*.fp16.safetensors", "*.bf16.safetensors", "*.non_ema.safetensors")
"""Further copies of the same weights, which it does not."""


def readable(folder: Path) -> list[Path]:
    """The files of a checkpoint that an export reads."""
    found = {file for pattern in READ for file in folder.rglob(pattern) if file.is_file()}
    return [file for file in found if not any(file.match(pattern) for pattern in VARIANTS)]


def require(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder that lacks one of `files`, or whose weights are pickled."""
    for name in files:
        if (folder / name).exists():
            continue
        if name.endswith(".safetensors") and any((folder / name).parent.glob("*.bin")):
            raise ExportError(f"{(folder / name).parent} has only pickled weights (.bin): convert them to safetensors")
        raise ExportError(f"{folder} is no checkpoint for this step: it has no {name}")


def read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def settings(folder: Path, defaults: Settings) -> dict[str, Any]:
    """`defaults`, overridden by the checkpoint's own recast.json; an unknown key there is an error."""
    own = read_json(folder / "recast.json") if (folder / "recast.json").exists() else {}
    return overridden(defaults, own, f"{folder / 'recast.json'}")


def overridden(settings: Settings, own: Settings, where: str) -> dict[str, Any]:
    """`settings` with the values of `own`, which comes from `where`. Raises ExportError for an unknown name."""
    for name in own.keys() - settings.keys():
        raise ExportError(f"{where}: unknown setting {name!r}; known are {', '.join(settings)}")
    return {**settings, **own}


def write_tokenizer(source: Path, destination: Path) -> dict[str, int]:
    """Write the tokenizer of `source` as one tokenizers file; its special token ids.

    The file neither pads nor truncates: that is the reader's, who knows the context length.
    """
    from transformers import AutoTokenizer  # takes seconds, which "up to date" need not wait for

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(destination))
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(tokenizer, name) for name in names}
    for name, value in ids.items():
        if value is None:
            raise ExportError(f"the tokenizer in {source} has no {name.removesuffix('_id')}")
    return ids
