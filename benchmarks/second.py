"""A second release to swap with: release 1 once more, under another number, in a model repository of its own."""

import shutil
from pathlib import Path

from serving.releases import manifest
from serving.releases.repository import Release


def own_repository(source: Path, folder: Path) -> Path:
    """A copy of the model repository `source` with release 1 alone, at `folder`, which must not exist."""
    numbers = {path.name for path in source.glob("*/*") if path.name.isdecimal() and path.name != "1"}
    ignore = shutil.ignore_patterns("__pycache__", ".[!g]*", "releases.json", *numbers)
    return Path(shutil.copytree(source, folder, ignore=ignore))


def copied(repository: Path, step: str, number: int) -> Release:
    """Release 1 of `step` once more as release `number`."""
    for model in Release(repository, step, 1).models:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / model / "1", repository / model / str(number), ignore=ignore)
    renewed(repository, step, number)
    return Release(repository, step, number)


def renewed(repository: Path, step: str, number: int) -> None:
    """Write the release's manifest anew, after its files changed."""
    folders = {model: repository / model / str(number) for model in Release(repository, step, 1).models}
    content = manifest.read(folders[step])
    manifest.write(folders[step], {**content, "release": number, "files": manifest.files(folders)})
