"""The manifest of a release, release.json: what it was made from and with, and every file that it holds."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAME = "release.json"
TOOLS = ("torch", "transformers", "diffusers", "onnx", "onnxruntime-gpu", "openvino", "recast-server")


def tools() -> dict[str, str]:
    """The versions of what makes releases."""
    return {tool: version(tool) for tool in TOOLS}


def files(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file in the `folders` of a release's models, by "model/path in its folder"."""
    return {
        f"{model}/{file.relative_to(folder).as_posix()}": entry(file)
        for model, folder in folders.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (NAME, f".{NAME}")
    }


def entry(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": digest(file)}


def digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(files: Iterable[Path], base: Path) -> str:
    """SHA-256 over the names (relative to `base`) and contents of `files`, whatever their order."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(base).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / NAME).read_text(encoding="utf-8"))


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write release.json into `folder`, replacing one that is there in one go."""
    fresh = folder / f".{NAME}"
    fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, folder / NAME)
