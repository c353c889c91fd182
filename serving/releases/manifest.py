"""The manifest of a release, release.json: what it was made from and with, and every file that it holds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "release.json"
PROGRAM = "model.py"
"""What Triton runs of a version folder."""


def import_line(model: str) -> bytes:
    """The PROGRAM of a step or entry point: all the code that a release holds."""
    return f"from serving.steps.{model} import TritonPythonModel\n".encode()


def model_of(name: str) -> str:
    """The model of a file as a manifest names it, "model/path in its version folder"."""
    return name.partition("/")[0]


def files(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file in the version `folders` of a release's models, by "model/path in its folder"."""
    return {
        f"{model}/{file.relative_to(folder).as_posix()}": entry(file)
        for model, folder in folders.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != NAME and not is_leftover(file)
    }


def entry(file: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": file.stat().st_size, "sha256": digest(file)}


def digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """The manifest in a step's version `folder`; FileNotFoundError, or ValueError for what is no JSON."""
    return json.loads((folder / NAME).read_text(encoding="utf-8"))


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest into a step's version `folder`, replacing one that is there in one go."""
    replace_file(folder / NAME, (json.dumps(content, indent=2) + "\n").encode())


def replace_file(file: Path, content: bytes) -> None:
    """Write `file` in one go: whoever reads it, even after the power failed, finds all of the old or all of the new."""
    fresh = _fresh(file)
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if file.exists():
        shutil.copymode(file, fresh)
    os.replace(fresh, file)


def is_leftover(file: Path) -> bool:
    """Whether an interrupted `replace_file` left it in a version folder; the next one takes it away."""
    return file.name in (f".{NAME}", f".{PROGRAM}")


def _fresh(file: Path) -> Path:
    return file.with_name(f".{file.name}")
