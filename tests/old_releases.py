"""Releases as they were written until `serving` had rooms: each step's folder with a full copy of its program."""

import shutil
from pathlib import Path

from benchmarks.second import renewed
from serving.releases.manifest import PROGRAM
from serving.releases.repository import Release
from serving.topology import ADMIT, SERVED_BY, STEPS

PROGRAMS = Path(__file__).parent / "data" / "release_before_rooms"


def programs(release: Release) -> dict[str, bytes]:
    """What such a release of the same step had as model.py, by model."""
    models = (release.step, *SERVED_BY.get(release.step, ()))
    return {model: (PROGRAMS / f"{model}.py.txt").read_bytes() for model in models}


def make_all_old(repository: Path) -> None:
    """Make a repository, with release 1 of everything, as one of that time was."""
    for step in STEPS:
        make_old(Release(repository, step, 1))
    folder = repository / ADMIT / "1"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(PROGRAMS / f"{ADMIT}.py.txt", folder / PROGRAM)


def make_old(release: Release) -> None:
    """Give a release, in place, the programs of that time, and the manifest that goes with them."""
    for model, program in programs(release).items():
        shutil.rmtree(release.place(model) / "__pycache__", ignore_errors=True)
        (release.place(model) / PROGRAM).write_bytes(program)
    renewed(release.repository, release.step, release.number)
