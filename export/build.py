"""Fills the staged folders of a release: networks as ONNX, compared with torch, and the step's assets."""

import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from export import convert, parity, resources
from export.release import Target


def build(
    target: Target, settings: Mapping[str, Any], checkpoint: Path, precision: str, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Everything but model.py and release.json, from `checkpoint`: each network's precision, error and tolerance.

    `settings` are the step's. Raises ExportError.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    step = target.release.step
    family = importlib.import_module(f"export.{step}")
    folder, started = target.staged(step), time.monotonic()
    assets = family.write_assets(checkpoint, folder, settings)
    (folder / f"{step}.json").write_text(json.dumps(assets, indent=2) + "\n", encoding="utf-8")
    tell(f"{step:14}{time.monotonic() - started:6.1f} s  {'':18}{megabytes(folder):7.1f} MB")
    networks: dict[str, dict[str, Any]] = {}
    loaders = family.networks(checkpoint)
    if loaders:
        resources.check(checkpoint, folder, precision)
    for name, load in loaders.items():
        started = time.monotonic()
        network = load(checkpoint)
        wanted = parity.reference(network)
        network = network.lowered(precision)
        file = target.staged(name) / "model.onnx"
        convert.write(network, file)
        error = parity.compare(network, file, wanted)
        networks[name] = {"precision": network.precision, "error": error, "tolerance": network.tolerance}
        seconds = time.monotonic() - started
        tell(f"{name:14}{seconds:6.1f} s  max error {error:.1e} {megabytes(file.parent):7.1f} MB  {network.precision}")
        del network  # its weights, before the next network's come
    return networks


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
