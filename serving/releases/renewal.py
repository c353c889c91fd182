"""Releases of an earlier version of the server, made fit for this one.

They hold a full copy of the program that their step had then, and it imports modules of `serving` that have moved
since. All that this server runs is one import line, so that file is renewed to it and the manifest says so. A release
whose program has nothing of ours is left as it is.

The programs are written first and the manifest last, each in one go. Interrupted in between, the release holds import
lines that its manifest does not know: `Release.verify` lets them pass, and the next renewal ends what this one began.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from serving.releases import manifest
from serving.releases.errors import NotWritable
from serving.releases.manifest import PROGRAM, import_line
from serving.releases.repository import Release

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
        raise NotWritable(
            f"release {release.number} of {release.step} was written by an earlier version, its {PROGRAM} must be "
            f"renewed, and {release.repository} cannot be written ({error.strerror}): let the server or `recast "
            "releases` write there once, as with the repository mounted writable, or export the release again."
        ) from error
    return models


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
    if program == import_line(model):
        return files[_name(model)] != manifest.entry(file)
    return _OURS.search(program) is not None


def _name(model: str) -> str:
    return f"{model}/{PROGRAM}"
