"""Reading checkpoint folders in Hugging Face layout."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from export.errors import ExportError


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


def settings(folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults`, overridden by the checkpoint's own recast.json; an unknown key there is an error."""
    own = read_json(folder / "recast.json") if (folder / "recast.json").exists() else {}
    for name in own.keys() - defaults.keys():
        raise ExportError(f"{folder / 'recast.json'}: unknown setting {name!r}; known are {', '.join(defaults)}")
    return {**defaults, **own}


def write_tokenizer(source: Path, destination: Path) -> dict[str, int]:
    """Write the tokenizer of `source` as one tokenizers file; its special token ids.

    The file neither pads nor truncates: that is the reader's, who knows the context length.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, local_files_only=True)
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
