"""Decides what an export has to do for a step: nothing, a new model.py, or a whole release."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from export.checkpoint import Settings
from export.errors import ExportError
from export.release import Origin, Target
from export.weights import readable
from serving.releases.manifest import PROGRAM, digest
from serving.releases.renewal import write_programs
from serving.releases.repository import Release

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
    target = Target(release)
    origin = current_origin(target, order)
    made_from = target.origin()
    if made_from == origin:
        tell(f"{release.step}: release {release.number} is up to date")
        return
    if target.exists() and not may_replace:
        raise ExportError(
            f"release {release.number} of {release.step} exists and is incomplete or was made from other files:"
            f" the next free number is {target.next_free()}, so add --release {target.next_free()}"
        )
    if made_from and replace(made_from, model_py=origin.model_py) == origin:
        programs = {model: source.read_bytes() for model, source in sources_of(target).items()}
        write_programs(release, programs, {"origin": asdict(origin)})
        tell(f"{release.step}: release {release.number} has the new {PROGRAM}, its weights are up to date")
        return
    make(target, order, origin, tell)
    tell(f"{release.step}: release {release.number} is in place")


def make(target: Target, order: Order, origin: Origin, tell: Tell) -> None:
    """Make the release of `target` as ordered, whose fingerprints are `origin`."""
    from export.build import build  # torch and its exporter take seconds to import: not to say "up to date"

    with target.staging():
        networks = build(target, order.settings, order.checkpoint, order.precision, tell)
        if current_origin(target, order) != origin:
            raise ExportError(f"{order.checkpoint} changed while it was exported: run the export again")
        for entry_point in target.entry_points:
            shutil.copytree(target.staged(target.release.step), target.staged(entry_point), dirs_exist_ok=True)
        for model, source in sources_of(target).items():
            shutil.copyfile(source, target.staged(model) / PROGRAM)
        target.write_manifest({"source": asdict(order.source), "origin": asdict(origin), "networks": networks})


def current_origin(target: Target, order: Order) -> Origin:
    """The fingerprints that a release made now would have."""
    own = list(Path(__file__).parent.glob("*.py"))
    return Origin(
        checkpoint=fingerprint(readable(order.checkpoint), order.checkpoint),
        exporter=fingerprint(own, Path(__file__).parent),
        model_py=fingerprint(sources_of(target).values(), target.release.repository),
        settings=json.dumps(order.settings, sort_keys=True),
        precision=order.precision,
    )


def fingerprint(files: Iterable[Path], base: Path) -> str:
    """SHA-256 over the names (relative to `base`) and contents of `files`, whatever their order."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(base).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def sources_of(target: Target) -> dict[str, Path]:
    """The model.py, one import line, of the release's step and of each of its entry points, by model."""
    repository, step = target.release.repository, target.release.step
    sources = {model: repository / model / PROGRAM for model in (step, *target.entry_points)}
    for model, source in sources.items():
        if not source.exists():
            raise ExportError(f"{repository} is no Recast model repository: it has no {model}/{PROGRAM}")
    return sources
