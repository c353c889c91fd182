"""Fills the staged folders of a release: networks as ONNX, compared with torch, and the step's assets."""

import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from export import convert, parity
from export.release import Release


def build(
    release: Release, settings: Mapping[str, Any], checkpoint: Path, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Everything but model.py and release.json, from `checkpoint`: the error and tolerance of each network.

    `settings` are the step's where the checkpoint has none of its own. Raises ExportError.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    family = importlib.import_module(f"export.{release.step}")
    folder, started = release.staged(release.step), time.monotonic()
    assets = family.write_assets(checkpoint, folder, settings)
    (folder / f"{release.step}.json").write_text(json.dumps(assets, indent=2) + "\n", encoding="utf-8")
    tell(f"{release.step:14}{time.monotonic() - started:6.1f} s  {'':18}{megabytes(folder):7.1f} MB")
    networks = {}
    for name, load in family.NETWORKS.items():
        started = time.monotonic()
        network = load(checkpoint)
        file = release.staged(name) / "model.onnx"
        convert.write(network, file)
        error = parity.compare(network, file)
        networks[name] = {"error": error, "tolerance": network.tolerance}
        seconds = time.monotonic() - started
        tell(f"{name:14}{seconds:6.1f} s  max error {error:.1e} {megabytes(file.parent):7.1f} MB")
    return networks


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
