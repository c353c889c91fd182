"""A release's manifest, release.json in its step's folder: read, and held against the files that are there.

A release N of a step is the version folder N of the step and of each model that the manifest names. A folder that no
server shall load stands aside, in the repository's folder `.inactive`, which Triton never looks into.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recast.errors import RecastError

INACTIVE = ".inactive"
NAME = "release.json"
_CHUNK = 1 << 20


class BadRelease(RecastError):
    name = "bad_release"


@dataclass(frozen=True)
class Release:
    """Version `number` of `step` and of the other models that its manifest names, in the folder `repository`."""

    repository: Path
    step: str
    number: int

    @property
    def has_manifest(self) -> bool:
        return (self.folder(self.step) / NAME).is_file()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """release.json; BadRelease where there is none that can be used."""
        try:
            content = json.loads((self.folder(self.step) / NAME).read_text(encoding="utf-8"))
            own = (content["release"], {_model(name) for name in content["files"]})
        except FileNotFoundError:
            there = self.folder(self.step).is_dir()
            what = f"has no {NAME}: export it again" if there else f"is not in {self.repository}: export it first"
            raise self.refused(what) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self.refused(f"has a {NAME} that names no files: export it again") from None
        if own[0] != self.number:
            raise self.refused(f"has the manifest of release {own[0]}: export it again")
        if self.step not in own[1]:
            raise self.refused(f"has a {NAME} without its own files: export it again")
        return content

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the release, the step last."""
        names = dict.fromkeys(_model(name) for name in self.manifest["files"])
        return (*(name for name in names if name != self.step), self.step)

    def place(self, model: str) -> Path:
        """Where a server finds the model's version."""
        return self.repository / model / str(self.number)

    def aside(self, model: str) -> Path:
        """Where it stands when no server shall."""
        return self.repository / INACTIVE / model / str(self.number)

    def folder(self, model: str) -> Path:
        """Where it is."""
        return self.place(model) if self.place(model).is_dir() else self.aside(model)

    def verify(self) -> int:
        """The bytes of all files, each held against the manifest; BadRelease names the first that differs.

        Reads every byte once.
        """
        files = self.manifest["files"]
        for name, entry in files.items():
            self._verify_file(name, entry["bytes"], entry["sha256"])
        for model in self.models:
            folder = self.folder(model)
            for file in folder.rglob("*"):
                name = f"{model}/{file.relative_to(folder).as_posix()}"
                if (
                    file.is_file()
                    and name not in files
                    and file != self.folder(self.step) / NAME
                    and not _compiled(file)
                ):
                    raise self.refused(f"has a file that its manifest does not name: {name}")
        return sum(entry["bytes"] for entry in files.values())

    def _verify_file(self, name: str, size: int, sha256: str) -> None:
        model, _, path = name.partition("/")
        if not path or ".." in path.split("/") or model.startswith("."):
            raise self.refused(f"has a manifest that names a file outside it: {name}")
        file = self.folder(model) / path
        if not file.is_file():
            raise self.refused(f"lacks {name}" if file.parent.is_dir() else f"lacks the folder of {model}")
        if file.stat().st_size != size:
            raise self.refused(f"is damaged: {name} has {file.stat().st_size} bytes and the manifest says {size}")
        if _digest(file) != sha256:
            raise self.refused(f"is damaged: {name} has another SHA-256 than the manifest says")

    def refused(self, why: str) -> BadRelease:
        return BadRelease(f"release {self.number} of {self.step} {why}.")


def on_disk(repository: Path, step: str) -> list[int]:
    """The numbers of the step's releases that have a folder, in place or aside."""
    folders = [*(repository / step).glob("*/"), *(repository / INACTIVE / step).glob("*/")]
    return sorted({int(folder.name) for folder in folders if folder.name.isdecimal()})


def _compiled(file: Path) -> bool:
    """Whether Python wrote it when a server ran the release; a deployment removes it before the next one does."""
    return file.parent.name == "__pycache__" and file.suffix == ".pyc"


def _model(name: str) -> str:
    return name.partition("/")[0]


def _digest(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
