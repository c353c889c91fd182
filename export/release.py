"""Releases in the model repository: which there are, and how one is put in place whole or not at all.

A release N of a step is the version folder N of the step, of each of its networks and of each of its doors. It exists
once the step's own folder does: that one is renamed into place last, and out of it first. Until then everything lies
in hidden folders inside the models' own (so on the same file system), which Triton ignores and the next export sweeps.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from export import manifest
from export.errors import ExportError
from serving.releases.manifest import INACTIVE
from serving.topology import SERVED_BY, released_with


@dataclass(frozen=True)
class Origin:
    """What a release was made from: fingerprints, the settings as JSON, the precision asked for."""

    checkpoint: str
    exporter: str
    model_py: str
    settings: str
    precision: str


@dataclass(frozen=True)
class Release:
    """Version `number` of `step`, its networks and its doors in `repository`."""

    repository: Path
    step: str
    number: int

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the release, the step last."""
        return released_with(self.step)

    @property
    def doors(self) -> tuple[str, ...]:
        return SERVED_BY.get(self.step, ())

    def place(self, model: str) -> Path:
        return self.repository / model / str(self.number)

    def aside(self, model: str) -> Path:
        """Where `recast releases` puts the folder of a release that no server shall load."""
        return self.repository / INACTIVE / model / str(self.number)

    def folder(self, model: str) -> Path:
        """Where it is; `place` if it is nowhere yet."""
        return self.aside(model) if self.aside(model).is_dir() else self.place(model)

    def staged(self, model: str) -> Path:
        return self.repository / model / f".{self.number}.staged"

    def retired(self, model: str) -> Path:
        return self.repository / model / f".{self.number}.retired"

    def origin(self) -> Origin | None:
        """What this release was made from; None where there is no complete release."""
        folder = self.folder(self.step)
        if not (folder / manifest.NAME).exists() or not all(self.folder(model).is_dir() for model in self.models):
            return None
        written = manifest.read(folder)["origin"]
        return Origin(**{field.name: written.get(field.name, "") for field in fields(Origin)})

    def exists(self) -> bool:
        return self.folder(self.step).exists()

    def next_free(self) -> int:
        """The lowest number above every version of every model of the release."""
        places = (parent / model for model in self.models for parent in (self.repository, self.repository / INACTIVE))
        folders = (entry.name for place in places for entry in place.glob("[0-9]*"))
        return 1 + max((int(name) for name in folders if name.isdecimal()), default=0)

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Empty staged folders, published when the block ends well and removed when it does not."""
        try:
            for model in self.models:
                self.staged(model).mkdir(parents=True)
            yield
            self._publish()
        finally:
            for model in self.models:
                shutil.rmtree(self.staged(model), ignore_errors=True)
                shutil.rmtree(self.retired(model), ignore_errors=True)

    def _publish(self) -> None:
        for model in reversed(self.models):
            if self.folder(model).exists():
                os.rename(self.folder(model), self.retired(model))
        for model in self.models:
            os.rename(self.staged(model), self.place(model))

    def write_manifest(self, made: Mapping[str, Any]) -> None:
        """Write the manifest of the staged folders, last of all that goes into them; `made` says of what and how."""
        files = manifest.files({model: self.staged(model) for model in self.models})
        content = {"release": self.number, "step": self.step, **made, "tools": manifest.tools(), "files": files}
        manifest.write(self.staged(self.step), content)


@contextmanager
def exclusive(repository: Path, models: Iterable[str]) -> Iterator[None]:
    """Hold the repository against other exports (the kernel lets go when the process ends), and sweep `models`."""
    if not repository.is_dir():
        raise ExportError(f"there is no model repository at {repository}: give its folder with --repository")
    lock = os.open(repository, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for model in models:
            for leftover in (repository / model).glob(".[0-9]*.*"):
                shutil.rmtree(leftover)
        yield
    except BlockingIOError:
        raise ExportError(f"another export is at work in {repository}: wait until it has ended") from None
    finally:
        os.close(lock)
