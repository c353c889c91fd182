"""Releases swapped under load: `python -m benchmarks.swaps`.

A server of its own, on a copy of the model repository with a second release, gets random arrivals at 0.7 of the edits
a second that it can answer, from Locust, while release 2 is deployed and rolled back again and again. Says how many
edits failed, whether each was of a release in force, and the latency while a swap went on beside that of other times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from recast import Client, Credentials

from benchmarks.load.__main__ import OUT, measured_capacity, run_locust
from benchmarks.machine import machine
from benchmarks.second import copied, own_repository
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config
from serving.releases.deploy import Releases

WORK = Path("build/swaps")
SHARE, PAUSE, CYCLE = 0.7, 5.0, 40
"""Of capacity; seconds between swaps; seconds of Locust for a deployment and a rollback."""
LIMIT = 2.0
"""The most that p99 during swaps may be of p99 outside."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--cycles", type=int, default=10, help="deployments and rollbacks (default: %(default)s)")
    parser.add_argument("--rate", type=float, help=f"edits a second (default: {SHARE} of the capacity, measured first)")
    parser.add_argument("--results", type=Path, default=WORK, help="folder of the summary (default: %(default)s)")
    options = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    OUT.mkdir(parents=True, exist_ok=True)
    repository = own_repository(Path("model_repository"), WORK / "model_repository")
    with start(ServerOptions(repository, config=quickest_config())) as server:
        copied(repository, "inpaint", 2)  # only now: a server starts with the newest
        rate = options.rate or SHARE * measured_capacity(server.grpc_url, [])
        edits = WORK / "edits.jsonl"
        more = ["--arrivals", f"{rate:.3f}", "--edits", str(edits)]
        load = threading.Thread(target=run_locust, args=(server.grpc_url, 4, options.cycles * CYCLE, more))
        load.start()
        with Client(server.grpc_url, credentials=Credentials(admin_key=server.admin_key)) as client:
            swaps = swapped(Releases(repository, client.control, print), options.cycles)
        load.join()
    result = judged([json.loads(line) for line in edits.read_text().splitlines()], swaps)
    share = "" if options.rate else f", {SHARE} of what the server can answer"
    told = {"machine": machine(), "edits a second": round(rate, 2), "of capacity": share, "cycles": options.cycles}
    result = told | result
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "swaps.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.results / "swaps.md").write_text(page(result) + "\n")
    print(page(result))
    return int(bool(result["failures"]) or bool(result["not in force"]))


def swapped(releases: Releases, cycles: int) -> list[tuple[float, float, int]]:
    """(began, ended, release in force after it) of each swap."""
    done = []
    for _ in range(cycles):
        for number in (2, 1):
            time.sleep(PAUSE)
            began = time.time()
            if number == 2:
                releases.deploy(2, ["inpaint"])
            else:
                releases.rollback([])
            done.append((began, time.time(), number))
    return done


def judged(edits: list[dict[str, Any]], swaps: list[tuple[float, float, int]]) -> dict[str, Any]:
    """What the edits tell, seconds rounded to milliseconds."""
    good = [edit for edit in edits if edit["error"] is None]
    during = [edit for edit in good if any(overlaps(edit, began, ended) for began, ended, _ in swaps)]
    outside = [edit for edit in good if edit not in during]
    return {
        "edits": len(edits),
        "failures": dict(Counter(edit["error"] for edit in edits if edit["error"])),
        "releases": dict(Counter(str(edit["releases"]["inpaint"]) for edit in good)),
        "not in force": sum(edit["releases"]["inpaint"] not in in_force(edit, swaps) for edit in good),
        "deploy": seconds([ended - began for began, ended, number in swaps if number == 2]),
        "rollback": seconds([ended - began for began, ended, number in swaps if number == 1]),
        "during swaps": seconds([edit["seconds"] for edit in during]),
        "outside": seconds([edit["seconds"] for edit in outside]),
    }


def overlaps(edit: dict[str, Any], began: float, ended: float) -> bool:
    return edit["began"] < ended and began < edit["began"] + edit["seconds"]


def in_force(edit: dict[str, Any], swaps: list[tuple[float, float, int]]) -> set[int]:
    """The releases that were in force at some time while the edit was made."""
    if any(overlaps(edit, began, ended) for began, ended, _ in swaps):
        return {1, 2}
    return {([1] + [number for _, ended, number in swaps if ended <= edit["began"]])[-1]}


def seconds(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    p50, p99 = np.percentile(values, [50, 99])
    return {"count": len(values), "p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    inside, outside = result["during swaps"], result["outside"]
    ratio = inside.get("p99", 0) / outside["p99"] if outside.get("p99") else float("nan")
    lines = [
        f"{result['cycles']} deployments and rollbacks of inpaint under {result['edits a second']} edits a second at "
        f"random{result['of capacity']}. {result['machine']}, shared with Locust.",
        "",
        f"**{sum(result['failures'].values())} of {result['edits']} edits failed, {result['not in force']} were of a "
        f"release not in force; p99 during swaps is {ratio:.1f} of that outside (aim: {LIMIT:.0f}).**",
        "",
        "| seconds | count | p50 | p99 |",
        "|---|---|---|---|",
    ]
    for name in ("during swaps", "outside", "deploy", "rollback"):
        row = result[name]
        lines.append(f"| {name} | {row['count']} | {row.get('p50', '')} | {row.get('p99', '')} |")
    counts = ", ".join(f"release {release}: {count}" for release, count in sorted(result["releases"].items()))
    return "\n".join([*lines, "", f"Answers: {counts}."])


if __name__ == "__main__":
    sys.exit(main())
