"""The parse step: a causal language model in a transformers folder, served as it is."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from export.checkpoint import read_json, require, settings
from export.errors import ExportError
from export.network import Network

NETWORKS: Mapping[str, Callable[[Path], Network]] = {}


def write_assets(checkpoint: Path, folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the checkpoint into `folder`; the content of parse.json."""
    require(checkpoint, ["config.json", "tokenizer_config.json"])
    if not any(checkpoint.glob("*.safetensors")):
        require(checkpoint, ["model.safetensors"])
    (architecture,) = read_json(checkpoint / "config.json").get("architectures") or [None]
    if not str(architecture).endswith("ForCausalLM"):
        raise ExportError(f"{checkpoint} holds a {architecture}, and parse needs a causal language model")
    if AutoTokenizer.from_pretrained(checkpoint, local_files_only=True).chat_template is None:
        raise ExportError(f"the tokenizer in {checkpoint} has no chat template: give an instruct checkpoint")
    # not copytree's default, which keeps the modes: safetensors files are often readable by their owner alone
    shutil.copytree(checkpoint, folder / "checkpoint", copy_function=shutil.copyfile)
    return settings(checkpoint, defaults)
