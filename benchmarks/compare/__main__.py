"""Recast beside the same checkpoints served the usual ways, measured in one run: `python -m benchmarks.compare`.

The rivals are those of benchmarks/rivals/, at the precision that is the quickest on this machine. Every repeat goes
through all systems, each time from another one on. All numbers go to benchmarks/results/compare.json, the table into
benchmarks/README.md, plots to build/bench/.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.compare import charts, tables
from benchmarks.compare.sections import SECTIONS, Bench, Options
from benchmarks.machine import machine

README = Path("benchmarks/README.md")
RESULTS = Path("benchmarks/results/compare.json")
OUT = Path("build/bench")
PACKAGES = ("torch", "transformers", "diffusers", "onnxruntime-gpu", "nvidia-pytriton")
QUICK = Options(1, seconds=2, open_seconds=5, clients=4, edits=2, steps=2, mixed=(1, 2, 4), precision="fp32")
TRIALS = 5
"""Edits by which the notebook's precision is chosen."""
BUSY = 0.1
"""More of the cores' time than this must not be taken by others: torch's threads wait for the slowest at every step."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=Options.repeats, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="of a closed loop (%(default)s)")
    parser.add_argument("--open-seconds", type=float, default=Options.open_seconds, help="of arrivals (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two minutes that only show that it runs; into build/")
    chosen = parser.parse_args()
    options = QUICK if chosen.quick else Options(chosen.repeats, chosen.seconds, chosen.open_seconds)
    if not chosen.quick and (busy := busy_share()) > BUSY:
        raise SystemExit(f"other processes keep the cores {busy:.0%} busy, and nothing measured beside them is true")
    document = run(options)
    results = OUT / "compare.json" if chosen.quick else RESULTS
    OUT.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=1) + "\n")
    if not chosen.quick:
        README.write_text(tables.renewed(README.read_text(), report(document)))
    charts.draw(document["sections"], OUT)
    print(f"\n{report(document)}\n\nall numbers: {results}, plots: {OUT}")
    print(json.dumps(document["table"]))


def run(options: Options) -> dict[str, Any]:
    """Start the systems, measure every section: the content of compare.json."""
    from benchmarks.compare.systems import WARM_STEPS, running, warm_up
    from benchmarks.rivals.notebook import best_precision  # torch and diffusers take seconds to import

    bench = Bench([], options)
    trials = bench.fresh([options.steps], TRIALS)
    precision, trial_seconds = options.precision, dict[str, float]()
    if precision is None:
        tell("which precision suits the notebook")
        precision, trial_seconds = best_precision([trials[i] for i in range(TRIALS)])
    tell(f"starting the systems, the rivals in {precision}")
    with running(precision) as bench.systems:
        warm_up(bench.systems, bench.fresh([WARM_STEPS], 4 * options.clients), options.clients)
        measure(bench)
    return {
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "options": asdict(options),
        "precision": {"chosen": precision, "seconds": {name: round(s, 4) for name, s in trial_seconds.items()}},
        "sections": bench.results,
        "table": [asdict(row) for row in rows(bench)],
    }


def measure(bench: Bench) -> None:
    """Fill `bench.results`: repeat by repeat, section by section."""
    for repeat in range(bench.options.repeats):
        for section in SECTIONS:
            if repeat == 0 or not section.once:
                tell(f"repeat {repeat + 1} of {bench.options.repeats}: {section.name}")
                bench.results.setdefault(section.name, []).append(section.measure(bench, repeat))


def rows(bench: Bench) -> list[tables.Row]:
    return [row for section in SECTIONS for row in section.rows(bench.results[section.name], bench.options)]


def report(document: dict[str, Any]) -> str:
    """What the README says between its markers."""
    lines = [tables.markdown([tables.Row(**row) for row in document["table"]]), "", machine_line(document)]
    refused = refusals(document["sections"])
    lines += ["", f"Refused edits, which count for nobody: {refused}."]
    return "\n".join(lines)


def machine_line(document: dict[str, Any]) -> str:
    precision = document["precision"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    trials = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in precision["seconds"].items())
    chosen = f"The rivals run in {precision['chosen']}" + (
        f", the quickest for the notebook: {trials}." if trials else "."
    )
    return f"{document['machine']}; {versions}. {chosen}"


def refusals(sections: dict[str, list[dict[str, Any]]]) -> str:
    """Each system's share of refused edits in the closed loops."""
    runs = [run for name in ("throughput", "mixed steps") for repeat in sections[name] for run in repeat.items()]
    shares = {
        system: sum(run["refused"] for name, run in runs if name == system)
        / sum(run["asked"] for name, run in runs if name == system)
        for system in dict.fromkeys(name for name, _ in runs)
    }
    return ", ".join(f"{system} {share:.1%}" for system, share in shares.items())


def busy_share(seconds: float = 3) -> float:
    """How much of the cores' time is spent, by anyone, in the next `seconds`."""
    return psutil.cpu_percent(seconds) / 100


def tell(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
