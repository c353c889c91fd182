"""How a release comes into the model repository: whole or not at all.

It exists once the step's own folder does: that one is renamed into place last, and out of it first. Until then
everything lies in hidden folders inside the models' own (so on the same file system), which Triton ignores and the next
export sweeps.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from export.errors import ExportError
from serving.releases import manifest, repository
from serving.releases.errors import Busy
from serving.releases.repository import Release, on_disk
from serving.topology import SERVED_BY, released_with

TOOLS = ("torch", "transformers", "diffusers", "onnx", "onnxruntime-gpu", "openvino", "recast-server")
"""What makes releases; a manifest names their versions."""


@dataclass(frozen=True)
class Origin:
    """What a release was made from: fingerprints, the settings as JSON, the precision asked for."""

    checkpoint: str
    exporter: str
    model_py: str
    settings: str
    precision: str


@dataclass(frozen=True)
class Target:
    """The place that an export fills with `release`: a folder for its step, each network and each entry point."""

    release: Release

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that the release shall have, the step last."""
        return released_with(self.release.step)

    @property
    def entry_points(self) -> tuple[str, ...]:
        return SERVED_BY.get(self.release.step, ())

    def origin(self) -> Origin | None:
        """What the release that is there was made from; None where there is no complete one."""
        folder = self.release.folder(self.release.step)
        if not self.release.has_manifest or not all(self.release.folder(model).is_dir() for model in self.models):
            return None
        written = manifest.read(folder)["origin"]
        return Origin(**{field.name: written.get(field.name, "") for field in fields(Origin)})

    def exists(self) -> bool:
        return self.release.folder(self.release.step).exists()

    def next_free(self) -> int:
        """The lowest number above every version of every model of the release."""
        return 1 + max(
            (number for model in self.models for number in on_disk(self.release.repository, model)), default=0
        )

    def staged(self, model: str) -> Path:
        return self.release.repository / model / f".{self.release.number}.staged"

    def retired(self, model: str) -> Path:
        return self.release.repository / model / f".{self.release.number}.retired"

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
            if self.release.folder(model).exists():
                os.rename(self.release.folder(model), self.retired(model))
        for model in self.models:
            os.rename(self.staged(model), self.release.place(model))

    def write_manifest(self, made: Mapping[str, Any]) -> None:
        """Write the manifest of the staged folders, last of all that goes into them; `made` says of what and how."""
        named = {"release": self.release.number, "step": self.release.step}
        tools = {tool: version(tool) for tool in TOOLS}
        files = manifest.files({model: self.staged(model) for model in self.models})
        manifest.write(self.staged(self.release.step), {**named, **made, "tools": tools, "files": files})


@contextmanager
def exclusive(folder: Path, models: Iterable[str]) -> Iterator[None]:
    """Keep deployments and other exports out of the repository `folder`, and sweep `models`. Raises ExportError."""
    if not folder.is_dir():
        raise ExportError(f"there is no model repository at {folder}: give its folder with --repository")
    try:
        with repository.exclusive(folder):
            for model in models:
                for leftover in (folder / model).glob(".[0-9]*.*"):
                    shutil.rmtree(leftover)
            yield
    except Busy as error:
        raise ExportError(str(error).removesuffix(".")) from None
