"""Pictures of a comparison: throughput, one client's seconds, and latency over time under random arrivals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot


def draw(results: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
    """PNG files of the sections that `results` holds."""
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for name, repeats in results.items():
        figure, axes = pyplot.subplots(figsize=(8, 4.5))
        axes.set_title(name)
        if name in ("throughput", "mixed steps"):
            bars(axes, {s: [repeat[s]["rate"] for repeat in repeats] for s in sorted(repeats[0])}, "edits a second")
        elif name == "one client":
            values = {s: [t for repeat in repeats for t in repeat[s] if t is not None] for s in sorted(repeats[0])}
            bars(axes, values, "seconds an edit")
        elif name.startswith("arrivals"):
            over_time(axes, repeats[0])
        figure.savefig(folder / f"{name.replace(' ', '-')}.png", dpi=110, bbox_inches="tight")
        pyplot.close(figure)


def bars(axes, values: Mapping[str, Sequence[float]], unit: str) -> None:
    """A bar a system at the median, a dot for each measurement."""
    axes.bar(list(values), [statistics.median(each) for each in values.values()], color="lightsteelblue")
    for system, each in values.items():
        axes.plot([system] * len(each), each, "k.", alpha=0.6)
    axes.set_ylabel(unit)


def over_time(axes, repeat: Mapping[str, Any]) -> None:
    for system, run in repeat.items():
        if isinstance(run, Mapping):
            axes.plot(run["arrivals"], run["latencies"], ".-", label=system)
    axes.set_xlabel("arrival, seconds")
    axes.set_ylabel("latency, seconds")
    axes.legend()
