"""Releases of an earlier version of the server, made fit for this one.

They hold a full copy of the program that their step had then, and it imports modules of `serving` that have moved
since. All that this server runs is one import line, so that file is renewed to it and the manifest says so. A release
whose program has nothing of ours is left as it is. `admit` is in no release, but such a repository has its old program
too.

The programs are written first and the manifest last, each in one go. Interrupted in between, the release holds import
lines that its manifest does not know: `Release.verify` lets them pass, and the next renewal ends what this one began.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from serving.releases import manifest
from serving.releases.errors import NotWritable
from serving.releases.manifest import PROGRAM, import_line
from serving.releases.repository import Release
from serving.topology import ADMIT

_OURS = re.compile(rb"^(?:from|import) serving\b", re.MULTILINE)


def stale(release: Release) -> list[str]:
    """The models of `release` whose program must be renewed, or was without the manifest knowing."""
    files = release.manifest["files"]
    return [model for model in release.models if _name(model) in files and _stale(release, model, files)]


def renew(release: Release) -> list[str]:
    """Renew the programs of a release that was verified; the models concerned, none when it is fit.

    To be called by who has the repository to itself. NotWritable says what to do where the files cannot be changed.
    """
    models, content = stale(release), release.manifest
    if not models:
        return []
    by = version("recast-server")
    told = {name: {"from": content["files"][name]["sha256"], "by": by} for name in map(_name, models)}
    try:
        write_programs(
            release,
            {model: import_line(model) for model in models},
            {"renewed": {**content.get("renewed", {}), **told}},
        )
    except OSError as error:
        raise _not_writable(f"release {release.number} of {release.step}", release.repository, error) from error
    return models


def stale_admit(repository: Path) -> list[Path]:
    """The programs of admit in `repository` that must be renewed."""
    return [file for file in (repository / ADMIT).glob(f"[0-9]*/{PROGRAM}") if _is_copy(file.read_bytes(), ADMIT)]


def renew_admit(repository: Path) -> None:
    """Renew them, as `renew` does a release's."""
    try:
        for file in stale_admit(repository):
            manifest.replace_file(file, import_line(ADMIT))
    except OSError as error:
        raise _not_writable(ADMIT, repository, error) from error


def write_programs(release: Release, programs: Mapping[str, bytes], told: Mapping[str, Any]) -> None:
    """Replace the program of each of these models, then let the manifest say so, with the fields `told`.

    OSError where they cannot be written.
    """
    content = release.manifest
    files = dict(content["files"])
    for model, program in programs.items():
        file = release.folder(model) / PROGRAM
        if file.read_bytes() != program:
            manifest.replace_file(file, program)
        files[_name(model)] = manifest.entry(file)
    manifest.write(release.folder(release.step), {**content, **told, "files": files})


def _stale(release: Release, model: str, files: Mapping[str, Any]) -> bool:
    file = release.folder(model) / PROGRAM
    program = file.read_bytes() if file.is_file() else b""
    unfinished = program == import_line(model) and files[_name(model)] != manifest.entry(file)
    return unfinished or _is_copy(program, model)


def _is_copy(program: bytes, model: str) -> bool:
    """Whether it is code of ours beyond the line that imports it."""
    return program != import_line(model) and _OURS.search(program) is not None


def _name(model: str) -> str:
    return f"{model}/{PROGRAM}"


def _not_writable(what: str, repository: Path, error: OSError) -> NotWritable:
    return NotWritable(
        f"{what} was written by an earlier version, its {PROGRAM} must be renewed, and {repository} cannot be written "
        f"({error.strerror}): start the server there once with the repository mounted writable, as a user who may "
        "write in it."
    )
