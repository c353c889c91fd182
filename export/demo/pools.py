"""Crops drawn once, by all cores, and kept in a folder: what every training of pictures reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from export.demo import crops, world
from export.demo.crops import Example

PART = 1000
"""Crops in a file: an interrupted run keeps the files that are done."""
COUNT = 24_000
"""The crops that the demo's weights are trained on, of the seeds from 0."""


def pool(count: int, folder: Path) -> dict[str, np.ndarray]:
    """The crops of seeds 0 … `count`, a multiple of PART, as stacked arrays.

    Keys: `image` uint8 [n, 192, 192, 3], `mask` bool [n, 192, 192], `caption`, `intent`, `kind`, `colour` str [n].
    """
    parts = []
    for file in draw(count, folder):
        with np.load(file) as stored:
            parts.append({name: stored[name] for name in stored.files})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def draw(count: int, folder: Path) -> list[Path]:
    """The files that `pool` reads, of PART crops each; those that `folder` lacks are drawn."""
    if count > world.HELD_OUT:
        raise ValueError("training must not see held-out seeds")
    folder.mkdir(parents=True, exist_ok=True)
    files = {first: folder / f"crops-{first}-{PART}.npz" for first in range(0, count, PART)}
    missing = {first: file for first, file in files.items() if not file.exists()}
    if missing:
        cores = len(os.sched_getaffinity(0))
        print(f"crops: drawing {len(missing) * PART} on {cores} cores", flush=True)
        with ProcessPoolExecutor(cores, get_context("spawn")) as workers:
            list(workers.map(_draw, missing.keys(), missing.values()))
    return list(files.values())


def _draw(first: int, file: Path) -> None:
    part = file.with_suffix(".part.npz")
    np.savez(part, **stacked(crops.example(seed) for seed in range(first, first + PART)))  # type: ignore[arg-type]
    part.rename(file)


def stacked(drawn: Iterable[Example]) -> dict[str, np.ndarray]:
    """Crops as `pool` gives them."""
    every = list(drawn)
    return {
        "image": np.stack([crop.image for crop in every]),
        "mask": np.stack([crop.mask for crop in every]),
        "caption": np.array([crop.caption for crop in every]),
        "intent": np.array([crop.intent for crop in every]),
        "kind": np.array([crop.kind or "" for crop in every]),
        "colour": np.array([crop.colour or "" for crop in every]),
    }
