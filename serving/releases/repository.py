"""The folders of releases in a model repository: where each stands, whether it is whole, and who may change them.

A release N of a step is the version folder N of the step and of each model that its manifest names. A folder that no
server shall load stands aside, in the repository's folder `.inactive`, which Triton never looks into.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.releases import manifest
from serving.releases.errors import BadRelease, Busy
from serving.releases.manifest import NAME, PROGRAM, import_line, model_of

INACTIVE = ".inactive"
_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Release:
    """Version `number` of `step` and of the other models that its manifest names, in the folder `repository`."""

    repository: Path
    step: str
    number: int

    def place(self, model: str) -> Path:
        """Where a server finds the model's version."""
        return self.repository / model / str(self.number)

    def aside(self, model: str) -> Path:
        """Where it stands when no server shall."""
        return self.repository / INACTIVE / model / str(self.number)

    def folder(self, model: str) -> Path:
        """Where it is; `place` if it is nowhere yet."""
        return self.aside(model) if not self.place(model).is_dir() and self.aside(model).is_dir() else self.place(model)

    @property
    def has_manifest(self) -> bool:
        return (self.folder(self.step) / NAME).is_file()

    @property
    def manifest(self) -> dict[str, Any]:
        """release.json; BadRelease where there is none that can be used."""
        try:
            content = manifest.read(self.folder(self.step))
            number, models = content["release"], {model_of(name) for name in content["files"]}
        except FileNotFoundError:
            there = self.folder(self.step).is_dir()
            what = f"has no {NAME}: export it again" if there else f"is not in {self.repository}: export it first"
            raise self.refused(what) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self.refused(f"has a {NAME} that names no files: export it again") from None
        if number != self.number:
            raise self.refused(f"has the manifest of release {number}: export it again")
        if self.step not in models:
            raise self.refused(f"has a {NAME} without its own files: export it again")
        return content

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the release, the step last. BadRelease as `manifest`."""
        names = dict.fromkeys(model_of(name) for name in self.manifest["files"])
        return (*(name for name in names if name != self.step), self.step)

    def verify(self) -> int:
        """The bytes of all files, each checked against the manifest; BadRelease names the first that differs.

        Reads every byte once.
        """
        files = self.manifest["files"]
        for name, entry in files.items():
            self._verify_file(name, entry["bytes"], entry["sha256"])
        for model in self.models:
            for file in self.folder(model).rglob("*"):
                name = f"{model}/{file.relative_to(self.folder(model)).as_posix()}"
                if file.is_file() and name not in files and not self._expected(file):
                    raise self.refused(f"has a file that its manifest does not name: {name}")
        return sum(entry["bytes"] for entry in files.values())

    def refused(self, why: str) -> BadRelease:
        return BadRelease(f"release {self.number} of {self.step} {why}.")

    def _verify_file(self, name: str, size: int, sha256: str) -> None:
        model, _, path = name.partition("/")
        if not path or ".." in path.split("/") or model.startswith("."):
            raise self.refused(f"has a manifest that names a file outside it: {name}")
        file = self.folder(model) / path
        if not file.is_file():
            raise self.refused(f"lacks {name}" if file.parent.is_dir() else f"lacks the folder of {model}")
        if path == PROGRAM and file.read_bytes() == import_line(model):
            return  # a renewal that was interrupted before it had written the manifest
        if file.stat().st_size != size:
            raise self.refused(f"is damaged: {name} has {file.stat().st_size} bytes and the manifest says {size}")
        if manifest.digest(file) != sha256:
            raise self.refused(f"is damaged: {name} has another SHA-256 than the manifest says")

    def _expected(self, file: Path) -> bool:
        """Whether a file that no manifest names may be there.

        Bytecode is written when a server runs the release; a deployment removes it before the next one does.
        """
        compiled = file.parent.name == "__pycache__" and file.suffix == ".pyc"
        return compiled or manifest.is_leftover(file) or file == self.folder(self.step) / NAME


def on_disk(repository: Path, model: str) -> list[int]:
    """The numbers of the model's releases that have a folder, in place or aside."""
    return sorted(placed(repository, model) | placed(repository / INACTIVE, model))


def placed(repository: Path, model: str) -> set[int]:
    """The numbers of the model's version folders in `repository` that a server finds."""
    return {int(folder.name) for folder in (repository / model).glob("*/") if folder.name.isdecimal()}


@contextmanager
def exclusive(repository: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep exports and other deployments out of the repository; the kernel lets go when the process ends.

    Busy when another has it for longer than `patience` seconds, or when there is no such folder.
    """
    end = time.monotonic() + patience
    try:
        lock = os.open(repository, os.O_RDONLY)
    except OSError as error:
        raise Busy(f"{repository} cannot be used ({error.strerror}): name the one that is served.") from None
    try:
        while not _locked(lock):
            if time.monotonic() >= end:
                raise Busy(f"another deployment or export is at work in {repository}: wait until it has ended.")
            time.sleep(_LOOK_EVERY)
        yield
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
