"""Plots of a load test, as PNG files: over time, throughput against latency, the UNet's batches, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from benchmarks.load.growth import SHM, Watch
from benchmarks.load.results import Moment

WINDOW = 10
"""Seconds of one point of throughput against latency, which is the window that Locust's figures are of."""


def draw(folder: Path, moments: Sequence[Moment], watch: Watch, batches: Mapping[int, int]) -> None:
    matplotlib.use("Agg")
    if moments:
        over_time(moments, folder / "over-time.png")
        against([each for each in moments[::-WINDOW] if each.rate], folder / "throughput-latency.png")
    histogram(batches, folder / "batches.png")
    memory(watch, folder / "memory.png")


def over_time(moments: Sequence[Moment], path: Path) -> None:
    seconds = [each.time - moments[0].time for each in moments]
    figure, (above, middle, below) = pyplot.subplots(3, 1, sharex=True, figsize=(8, 8))
    for name in ("p50", "p95", "p99"):
        above.plot(seconds, [getattr(each, name) for each in moments], label=name)
    above.set_ylabel("seconds an edit")
    above.set_ylim(bottom=0)
    above.legend()
    middle.plot(seconds, [each.rate for each in moments])
    middle.set_ylabel("edits a second")
    middle.set_ylim(bottom=0)
    below.step(seconds, [each.users for each in moments], where="post")
    below.set_ylabel("users")
    below.set_ylim(bottom=0)
    below.set_xlabel("seconds")
    saved(figure, path)


def against(moments: Sequence[Moment], path: Path) -> None:
    """A point a window; --shape ramp makes them walk along the curve."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name in ("p50", "p95"):
        axes.plot([each.rate for each in moments], [getattr(each, name) for each in moments], "o", label=name)
    axes.set_xlabel("edits a second")
    axes.set_ylabel("seconds an edit")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    saved(figure, path)


def histogram(batches: Mapping[int, int], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 4))
    axes.bar(list(batches), list(batches.values()))
    axes.set_xlabel("rows in one call of the UNet")
    axes.set_ylabel("calls")
    saved(figure, path)


def memory(watch: Watch, path: Path) -> None:
    """Each model's, one upon the other, and /dev/shm."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    seconds = [row["Timestamp"] - watch.rows[0]["Timestamp"] for row in watch.rows]
    names = [name for name in watch.rows[0] if name not in ("Timestamp", "memory", SHM)]
    colours = pyplot.get_cmap("tab20")(range(len(names)))
    axes.stackplot(seconds, [[row.get(name, 0) for row in watch.rows] for name in names], labels=names, colors=colours)
    axes.plot(seconds, [row[SHM] for row in watch.rows], "k--", label=SHM)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MB")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    saved(figure, path)


def saved(figure, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
