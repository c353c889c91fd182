"""Decides what an export has to do for a step: nothing, a new model.py, or a whole release."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from export import manifest
from export.checkpoint import Settings, readable
from export.errors import ExportError
from export.manifest import fingerprint
from export.release import Origin, Release

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Where a checkpoint came from: its id on the hub and the commit, or for people what else it is."""

    checkpoint: str
    revision: str | None = None


@dataclass(frozen=True)
class Order:
    """What a release shall be made from: a checkpoint folder, where it came from, and how."""

    checkpoint: Path
    source: Source
    settings: Settings
    precision: str


def export(release: Release, order: Order, tell: Tell, *, may_replace: bool) -> None:
    """Make `release` as ordered, unless it was made from the same before.

    A release of another origin is replaced when `may_replace`, and an ExportError otherwise.
    """
    if not order.checkpoint.is_dir():
        raise ExportError(f"there is no checkpoint folder {order.checkpoint}")
    origin = current_origin(release, order)
    made_from = release.origin()
    if made_from == origin:
        tell(f"{release.step}: release {release.number} is up to date")
        return
    if release.exists() and not may_replace:
        raise ExportError(
            f"release {release.number} of {release.step} exists and is incomplete or was made from other files:"
            f" the next free number is {release.next_free()}, so add --release {release.next_free()}"
        )
    if made_from and replace(made_from, model_py=origin.model_py) == origin:
        renew_model_py(release, origin)
        tell(f"{release.step}: release {release.number} has the new model.py, its weights are up to date")
        return
    from export.build import build  # torch and its exporter take seconds to import: not to say "up to date"

    with release.staging():
        networks = build(release, order.settings, order.checkpoint, order.precision, tell)
        if current_origin(release, order) != origin:
            raise ExportError(f"{order.checkpoint} changed while it was exported: run the export again")
        for door in release.doors:
            shutil.copytree(release.staged(release.step), release.staged(door), dirs_exist_ok=True)
        for model, source in sources_of(release).items():
            shutil.copyfile(source, release.staged(model) / "model.py")
        made = {"source": asdict(order.source), "origin": asdict(origin), "networks": networks}
        release.write_manifest(made)
    tell(f"{release.step}: release {release.number} is in place")


def current_origin(release: Release, order: Order) -> Origin:
    """The fingerprints that a release made now would have."""
    own = list(Path(__file__).parent.glob("*.py"))
    return Origin(
        checkpoint=fingerprint(readable(order.checkpoint), order.checkpoint),
        exporter=fingerprint(own, Path(__file__).parent),
        model_py=fingerprint(sources_of(release).values(), release.repository),
        settings=json.dumps(order.settings, sort_keys=True),
        precision=order.precision,
    )


def sources_of(release: Release) -> dict[str, Path]:
    """The hand-written model.py of the release's step and of each of its doors, by model."""
    sources = {model: release.repository / model / "model.py" for model in (release.step, *release.doors)}
    for model, model_py in sources.items():
        if not model_py.exists():
            raise ExportError(f"{release.repository} is no Recast model repository: it has no {model}/model.py")
    return sources


def renew_model_py(release: Release, origin: Origin) -> None:
    """Bring a changed model.py into a release whose weights are up to date."""
    folder = release.folder(release.step)
    written = manifest.read(folder)
    files = dict(written["files"])
    for model, source in sources_of(release).items():
        fresh, model_py = release.folder(model) / ".model.py", release.folder(model) / "model.py"
        shutil.copyfile(source, fresh)
        os.replace(fresh, model_py)
        files[f"{model}/model.py"] = manifest.entry(model_py)
    manifest.write(folder, {**written, "origin": asdict(origin), "files": files})
