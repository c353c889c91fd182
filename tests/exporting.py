"""Exports of the tiny checkpoints, for the tests."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from export.__main__ import arguments, run

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Exported:
    """A repository with release 1, and the files that the export killed before it had left."""

    repository: Path
    checkpoints: Path
    left_by_the_kill: tuple[Path, ...]


def empty_repository(folder: Path) -> Path:
    """A copy of the model repository without its releases, at `folder`."""
    return Path(shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns("[0-9]*", ".[0-9]*")))


def export(repository: Path, checkpoints: Path, *options: str, preset: str = "demo") -> None:
    """Export in this process, as `python -m export` would."""
    paths = ("--repository", str(repository), "--checkpoint", str(checkpoints))
    run(arguments().parse_args(["--preset", preset, *paths, *options]))


def export_after_a_kill(checkpoints: Path, folder: Path) -> Exported:
    repository = empty_repository(folder)
    command = [sys.executable, "-m", "export", "--preset", "demo", "--only", "inpaint"]
    command += ["--repository", str(repository), "--checkpoint", str(checkpoints)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("text_encoder"):  # the first network is done, the second has begun
                break
        os.kill(process.pid, signal.SIGKILL)
    left = tuple(file.relative_to(repository) for file in repository.rglob("*") if file.is_file())
    export(repository, checkpoints)
    return Exported(repository, checkpoints, left)
