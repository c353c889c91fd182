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
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "added_tokens.json")
"""What a tokenizer may be in."""
PIPELINE = "model_index.json"
"""What the folder of a diffusers pipeline has at its top."""


class Content(dict[str, Any]):
    """The object in a JSON file; asked for a key that it lacks, it raises ExportError."""

    def __init__(self, file: Path, values: Mapping[str, Any]):
        super().__init__(values)
        self.file = file

    def __missing__(self, key: str) -> Any:
        raise ExportError(f"{self.file} has no {key}: fetch it again, or take another checkpoint")


def require(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder that lacks one of `files`."""
    for name in files:
        if not (folder / name).exists():
            raise ExportError(f"{folder} is no checkpoint for this step: it has no {name}")


def read_json(file: Path) -> Content:
    """The object in `file`. Raises ExportError for a file that is missing or holds none."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{file} is missing: fetch it, too") from None
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{file} is damaged, it cannot be read as JSON ({one_line(error)}): fetch it again"
        ) from error
    if not isinstance(values, dict):
        raise ExportError(f"{file} is damaged, it holds no JSON object: fetch it again")
    return Content(file, values)


def one_line(error: Exception) -> str:
    """The first sentence of what `error` says, without its full stop: as a part of ours."""
    words = str(error).strip().splitlines() or [type(error).__name__]
    return words[0].split(". ")[0].strip().rstrip(".:")


def settings(folder: Path, defaults: Settings) -> dict[str, Any]:
    """`defaults`, overridden by the checkpoint's own recast.json; an unknown key there is an error."""
    own = read_json(folder / "recast.json") if (folder / "recast.json").exists() else {}
    return overridden(defaults, own, f"{folder / 'recast.json'}")


def overridden(settings: Settings, own: Settings, where: str) -> dict[str, Any]:
    """`settings` with the values of `own`, which comes from `where`. Raises ExportError for an unknown name."""
    for name in own.keys() - settings.keys():
        raise ExportError(f"{where}: unknown setting {name!r}; known are {', '.join(settings)}")
    return {**settings, **own}


def read_tokenizer(source: Path) -> Any:
    """The tokenizer in the folder `source`, without code of its own. Raises ExportError."""
    from transformers import AutoTokenizer  # takes seconds, which "up to date" need not wait for

    for name in TOKENIZER:
        if (source / name).exists():
            read_json(source / name)
    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the libraries' errors have no class in common
        raise ExportError(f"the tokenizer in {source} cannot be read ({one_line(error)}): fetch it again") from error


def write_tokenizer(source: Path, destination: Path) -> dict[str, int]:
    """Write the tokenizer of `source` as one tokenizers file; its special token ids.

    The file neither pads nor truncates: that is the reader's, who knows the context length.
    """
    tokenizer = read_tokenizer(source)
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
