"""What a load test measured: Locust's CSV files read, growth judged, all told as a page."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.growth import SHM, Trend, Watch, trend

LIMITS = {"latency p50, s": 1.5, "latency p95, s": 1.5, "memory, MB": 1.03, f"{SHM}, MB": 1.03}
"""The most that the last third of a run may be of its first; queues vary at random arrivals, growing ones explode."""
UPPER = 0.75
"""The quantile of memory that is compared. While releases come and go there is one loaded for half of the time and two
for the other: the median lies now here, now there, the upper quartile always with two."""
JUDGED = 120
"""Seconds that a run must last to be judged: a server's memory needs minutes to settle."""
ROWS = ("replace", "parse", "mask", "inpaint")
COLUMNS = {"50%": "p50", "95%": "p95", "99%": "p99", "100%": "longest"}


@dataclass(frozen=True)
class Moment:
    """A second of a run: edits answered since its start, and a second, and the seconds that the last ones took."""

    time: float
    users: int
    answered: int
    rate: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Result:
    """`load` says what was asked of the server. `growth` is empty when the run was too short to tell.

    `capacity` is in edits a second, if it was measured; `latency` in seconds, of the whole and of each step;
    `batches` are calls of the UNet by their rows; `deployments` counts releases that came or went, `refused` says
    why others did not.
    """

    machine: str
    load: str
    capacity: float | None
    latency: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, int]
    growth: Sequence[Trend]
    batches: Mapping[int, int]
    deployments: int = 0
    refused: Sequence[str] = ()

    @property
    def grew(self) -> bool:
        return any(each.grew for each in self.growth)


def history(folder: Path, name: str) -> list[Moment]:
    """The edits of a run, second by second, from when there are percentiles. Those and the rate are of a sliding window
    of ten seconds: with --csv-full-history, for without it Locust's are since the start."""
    return [
        Moment(
            time=float(row["Timestamp"]),
            users=int(row["User Count"]),
            answered=int(row["Total Request Count"]) - int(row["Total Failure Count"]),
            rate=float(row["Requests/s"]),
            p50=float(row["50%"]) / 1e3,
            p95=float(row["95%"]) / 1e3,
            p99=float(row["99%"]) / 1e3,
        )
        for row in rows(folder / f"{name}_stats_history.csv")
        if row["Name"] == "replace" and row["50%"] not in ("", "N/A", "0")
    ]


def throughput(moments: Sequence[Moment], warm_up: float) -> float:
    """Edits answered a second while all users were there, but for `warm_up` seconds; ValueError when none was."""
    most = max((each.users for each in moments), default=0)
    inside = [each for each in moments if each.users == most and each.time - moments[0].time >= warm_up]
    if len(inside) < 2 or inside[-1].answered == inside[0].answered:
        raise ValueError("the server answered no edit while its capacity was measured")
    return (inside[-1].answered - inside[0].answered) / (inside[-1].time - inside[0].time)


def latencies(folder: Path, name: str) -> dict[str, dict[str, float]]:
    """Seconds of the whole edit and of each step, and how many there were."""
    found = {row["Name"]: row for row in rows(folder / f"{name}_stats.csv")}
    return {
        step: {"edits": int(found[step]["Request Count"])}
        | {word: float(found[step][column]) / 1e3 for column, word in COLUMNS.items()}
        for step in ROWS
        if step in found
    }


def failures(folder: Path, name: str) -> dict[str, int]:
    """How often which error occurred."""
    found = rows(folder / f"{name}_failures.csv")
    return {re.sub(r"^Failure\('(\w+)'\)$", r"\1", row["Error"]): int(row["Occurrences"]) for row in found}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def trends(moments: Sequence[Moment], watch: Watch) -> list[Trend]:
    """Of what must not grow."""
    latency = ([(each.time, each.p50) for each in moments], [(each.time, each.p95) for each in moments])
    memory = watch.samples("memory"), watch.samples(SHM)
    quantiles = 0.5, 0.5, UPPER, UPPER
    return [
        trend(name, each, limit, quantile)
        for (name, limit), each, quantile in zip(LIMITS.items(), (*latency, *memory), quantiles, strict=True)
    ]


def verdict(result: Result) -> str:
    """One line."""
    grown = ", ".join(f"{each.name.split(',')[0]} x {each.ratio:.2f}" for each in result.growth if each.grew)
    growth = f"grew: {grown}" if grown else "nothing grew" if result.growth else f"growth takes {JUDGED} s to tell"
    counts = ", ".join(f"{count} {name}" for name, count in result.failures.items())
    swaps = f"; {result.deployments} releases came or went" if result.deployments else ""
    refused = f"; refused: {'; '.join(result.refused)}" if result.refused else ""
    return f"{growth}; {f'failures: {counts}' if counts else 'no failure'}{swaps}{refused}"


def page(result: Result) -> str:
    """The result as Markdown."""
    lines = [
        f"{result.load}. {result.machine}, shared with Locust. **{verdict(result).capitalize()}.**",
        "",
        "| seconds | " + " | ".join(("edits", *COLUMNS.values())) + " |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for step, row in result.latency.items():
        figures = " | ".join(f"{row[word]:.2f}" for word in COLUMNS.values())
        lines.append(f"| {step} | {row['edits']} | {figures} |")
    if result.growth:
        lines += ["", "| median, of memory the upper quartile | first third | last third | ratio | limit |",
                  "|---|---|---|---|---|"]  # fmt: skip
    for each in result.growth:
        lines.append(f"| {each.name} | {each.first:.2f} | {each.last:.2f} | {each.ratio:.2f} | ≤ {each.limit:.2f} |")
    batches = ", ".join(f"{count} of {size}" for size, count in sorted(result.batches.items()))
    return "\n".join([*lines, "", f"Calls of the UNet by their rows: {batches}."])
