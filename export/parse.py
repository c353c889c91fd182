"""The parse step: a causal language model in a transformers folder, served as it is."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from export import weights
from export.checkpoint import READ, WEIGHTS, Settings, read_json, read_tokenizer, require
from export.errors import ExportError
from export.network import Loaders
from serving.language.model import own_quantisation


def networks(checkpoint: Path) -> Loaders:
    return {}


def write_assets(checkpoint: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Copy what transformers reads of the checkpoint into `folder`; the content of parse.json."""
    require(checkpoint, ["config.json", "tokenizer_config.json"])
    found = weights.find(checkpoint, weights.TRANSFORMERS)
    refuse_unusable(checkpoint)
    copy = folder / "checkpoint"
    copy.mkdir(parents=True)
    for pattern in READ:
        for file in () if pattern == WEIGHTS else checkpoint.glob(pattern):
            # without its mode: downloaded files are often readable by their owner alone
            shutil.copyfile(file, copy / file.name)
    for file in found.files:
        link_or_copy(file, copy / weights.plain_name(file.name))
    if found.variant and found.index:  # the server asks for no variant
        index = read_json(found.index)
        where = {tensor: weights.plain_name(name) for tensor, name in index["weight_map"].items()}
        plain = json.dumps({**index, "weight_map": where})
        (copy / "model.safetensors.index.json").write_text(plain, encoding="utf-8")
    return dict(settings)


def refuse_unusable(checkpoint: Path) -> None:
    """ExportError for what is no instruct language model, needs code of its own, or is quantised in a foreign way."""
    config = read_json(checkpoint / "config.json")
    for name in ("config.json", "tokenizer_config.json"):
        if "auto_map" in read_json(checkpoint / name):
            raise ExportError(
                f"{checkpoint / name} has an auto_map: its own Python code would have to run, and Recast runs none"
            )
    architecture, *_ = config.get("architectures") or [None]
    if not str(architecture).endswith("ForCausalLM"):
        raise ExportError(f"{checkpoint} holds a {architecture}, and parse needs a causal language model")
    try:
        own_quantisation(config)
    except ValueError as error:
        raise ExportError(f"{checkpoint}: {error}") from None
    if read_tokenizer(checkpoint).chat_template is None:
        raise ExportError(f"the tokenizer in {checkpoint} has no chat template: give an instruct checkpoint")


def link_or_copy(source: Path, destination: Path) -> None:
    """A hard link to the file behind `source` where everybody may read it and the file system can, else a copy.

    A link costs neither time nor space for tens of GB, and stays when `source` is deleted or replaced.
    """
    file = source.resolve()
    try:
        if file.stat().st_mode & stat.S_IROTH:
            os.link(file, destination)
            return
    except OSError:  # another file system, or one without links
        pass
    shutil.copyfile(file, destination)
