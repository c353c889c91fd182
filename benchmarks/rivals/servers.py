"""The rivals that are tritonservers: each a model repository of one model, written from the files beside this one."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.rivals.pipeline import CHECKPOINTS
from serving.launcher.server_options import ServerOptions

FILES = Path(__file__).parent
WARM_UP = {"tutorial": (1,), "batching": (1, 2, 8)}
"""Requests together, by kind: what the compiled UNet must have seen before it is measured."""


def rival_options(kind: str, repository: Path, precision: str, checkpoints: Path = CHECKPOINTS) -> ServerOptions:
    """What a server of one model is started with; `repository` is written anew.

    `kind`, a key of WARM_UP, is the model's name too: at 'replace' the launcher would look for Recast's own steps.
    """
    shutil.rmtree(repository, ignore_errors=True)
    version = repository / kind / "1"
    version.mkdir(parents=True)
    shutil.copy(FILES / "model.py", version)
    parameters = {
        "checkpoints": str(checkpoints.absolute()),
        "precision": precision,
        "warm_up": ",".join(map(str, WARM_UP[kind])),
    }
    entries = [f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in parameters.items()]
    config = (FILES / f"{kind}.pbtxt").read_text() + "\n" + "".join(entries)
    (version.parent / "config.pbtxt").write_text(config)
    return ServerOptions(repository, ready_model=kind)
