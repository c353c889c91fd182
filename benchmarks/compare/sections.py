"""What is compared, a section each: how one repeat is measured, and the table's rows of all its repeats.

A new section is a function `measure(bench, repeat)` that returns a dict, a function `rows(repeats, options)` that makes
rows of a list of such dicts, and an entry in `SECTIONS`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.compare.edits import Edits
from benchmarks.compare.loops import System, closed_loop, in_turn, open_loop, poisson, rotated
from benchmarks.compare.tables import Row, Target, compared, said

Repeat = dict[str, Any]
"""What one repeat measured, as it goes into compare.json."""
RIVALS = ("notebook", "tutorial", "batching")


@dataclass(frozen=True)
class Options:
    """`steps` of every section but one, which mixes the counts `mixed`; `edits` are one client's, a repeat."""

    repeats: int = 3
    seconds: float = 20
    open_seconds: float = 60
    clients: int = 16
    edits: int = 8
    steps: int = 20
    mixed: tuple[int, ...] = (8, 20, 50)
    precision: str | None = None


@dataclass
class Bench:
    """The running systems, Recast first, and what was measured so far, by section."""

    systems: Sequence[System]
    options: Options
    results: dict[str, list[Repeat]] = field(default_factory=dict)
    drawn: int = 0

    def fresh(self, steps: Sequence[int], count: int) -> Edits:
        """Edits that nobody was asked yet, the first `count` drawn already."""
        edits, self.drawn = Edits(self.drawn, steps), self.drawn + 1
        edits.draw(count)
        return edits

    def named(self, *names: str) -> list[System]:
        return [system for system in self.systems if system.name in names]


@dataclass(frozen=True)
class Section:
    """`once`: too long to be repeated."""

    name: str
    measure: Callable[[Bench, int], Repeat]
    rows: Callable[[list[Repeat], Options], list[Row]]
    once: bool = False


def measure_throughput(bench: Bench, repeat: int, *, mixed: bool) -> Repeat:
    """Edits a second of each system under as many clients as it takes."""
    options = bench.options
    expected = options.clients + int(8 * options.seconds)
    edits = bench.fresh(options.mixed if mixed else [options.steps], expected)
    return {
        system.name: closed_loop(system, edits, options.clients, options.seconds)
        for system in rotated(bench.systems, repeat)
    }


def throughput_rows(repeats: list[Repeat], options: Options, *, mixed: bool) -> list[Row]:
    targets = {"batching": Target("≥", 1.5)} if mixed else {"notebook": Target("≥", 3), "tutorial": Target("≥", 2)}
    steps = ", ".join(map(str, options.mixed)) + " steps mixed" if mixed else f"{options.steps} steps"
    measured = f"{options.clients} clients, {steps}: edits a second"
    rates = {name: [repeat[name]["rate"] for repeat in repeats] for name in ("recast", *RIVALS)}
    return [compared(measured, rates["recast"], rival, rates[rival], targets.get(rival)) for rival in RIVALS]


def measure_one_client(bench: Bench, repeat: int) -> Repeat:
    """Seconds of each edit, every system asked in turn."""
    edits = bench.fresh([bench.options.steps], bench.options.edits)
    return in_turn(rotated(bench.systems, repeat), edits, bench.options.edits)


def one_client_rows(repeats: list[Repeat], options: Options) -> list[Row]:
    seconds = {
        name: [statistics.median(each for each in repeat[name] if each is not None) for repeat in repeats]
        for name in ("recast", *RIVALS)
    }
    targets = {"notebook": Target("≤", 0.7)}
    return [
        compared(
            f"one client, {options.steps} steps: seconds an edit",
            seconds["recast"],
            rival,
            seconds[rival],
            targets.get(rival),
        )
        for rival in RIVALS
    ]


def measure_open_loop(bench: Bench, repeat: int, *, load: float) -> Repeat:
    """Recast and the tutorial under the same arrivals: `load` times what the tutorial held with many clients."""
    capacity = statistics.median(each["tutorial"]["rate"] for each in bench.results["throughput"])
    seconds = bench.options.open_seconds
    arrivals = poisson(load * capacity, seconds, seed=repeat)
    edits = bench.fresh([bench.options.steps], len(arrivals))
    return {"rate": round(load * capacity, 3)} | {
        system.name: open_loop(system, edits, arrivals, seconds)
        for system in rotated(bench.named("recast", "tutorial"), repeat)
    }


def open_loop_rows(repeats: list[Repeat], options: Options, *, load: float) -> list[Row]:
    """Latencies below the tutorial's capacity; above it only whether the queue keeps growing."""
    measured = f"arrivals at {load:.1f} × the tutorial's rate"
    if load > 1:
        held = {name: all(stable(repeat[name]) for repeat in repeats) for name in ("recast", "tutorial")}
        words = {name: ("stable" if held[name] else "the queue grows") for name in held}
        met = said(held["recast"] and not held["tutorial"])
        target = "stable where the rival is not"
        return [Row(measured, words["recast"], "tutorial", words["tutorial"], target=target, met=met)]
    targets = {50: Target("≤", 1 / 2), 99: Target("≤", 1 / 3)}
    return [
        compared(
            f"{measured}: p{percentile}, seconds",
            [float(np.percentile(repeat["recast"]["latencies"], percentile)) for repeat in repeats],
            "tutorial",
            [float(np.percentile(repeat["tutorial"]["latencies"], percentile)) for repeat in repeats],
            target,
        )
        for percentile, target in targets.items()
    ]


def stable(run: Mapping[str, Any]) -> bool:
    """Whether an open loop came to rest: not both a queue left of a tenth of all edits and a last third of them that
    waited twice as long as the first."""
    latencies = run["latencies"]
    third = max(1, len(latencies) // 3)
    slower = statistics.median(latencies[-third:]) > 2 * statistics.median(latencies[:third])
    return not (slower and run["left"] > len(latencies) / 10)


SECTIONS = (
    Section("throughput", partial(measure_throughput, mixed=False), partial(throughput_rows, mixed=False)),
    Section("mixed steps", partial(measure_throughput, mixed=True), partial(throughput_rows, mixed=True)),
    Section("one client", measure_one_client, one_client_rows),
    Section("arrivals 0.9", partial(measure_open_loop, load=0.9), partial(open_loop_rows, load=0.9), once=True),
    Section("arrivals 1.2", partial(measure_open_loop, load=1.2), partial(open_loop_rows, load=1.2), once=True),
)
