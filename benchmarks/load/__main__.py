"""Starts a server, loads it with Locust and shows what it held: `python -m benchmarks.load --users 8 --seconds 60`.

With --share 0.8 a closed loop of 16 users first measures how many edits a second the server can answer; then edits
arrive at random at that share of it, and the run fails if latency, memory or /dev/shm grew. Further options are
Locust's and those of benchmarks/locustfile.py, as in `-- --arrivals 2 --steps 20 --shape ramp`.

With --deploy-every 300 a release is deployed, or rolled back, every five minutes meanwhile: `make soak` does so for an
hour.

Locust's CSV files and its HTML report go to build/load/, with the server's memory over time (memory.csv) and plots of
latency and throughput, of the batches that the UNet ran in and of memory. The summary is load.md and load.json,
or soak.md and soak.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.load import plots
from benchmarks.load.deploying import Deployments
from benchmarks.load.growth import Watch
from benchmarks.load.results import JUDGED, Result, failures, history, latencies, page, throughput, trends, verdict
from benchmarks.machine import machine
from benchmarks.second import own_repository
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

OUT = Path("build/load")
LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
CAPACITY_USERS, CAPACITY_SECONDS, CAPACITY_WARM_UP = 16, 120, 10


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--share", type=float, help="of the server's capacity, measured first, as an open loop")
    parser.add_argument("--deploy-every", type=float, metavar="SECONDS", help="a release comes or goes so often")
    parser.add_argument("--results", type=Path, default=OUT, help="folder of the summary (default: %(default)s)")
    parser.add_argument("more", nargs="*", help="for Locust, after --")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    repository = Path("model_repository")
    if options.deploy_every:
        shutil.rmtree(OUT / "model_repository", ignore_errors=True)
        repository = own_repository(repository, OUT / "model_repository")
    with start(ServerOptions(repository, config=quickest_config())) as server, ExitStack() as stack:
        capacity = measured_capacity(server.grpc_url, options.more) if options.share else None
        more = [*options.more, "--arrivals", f"{options.share * capacity:.3f}"] if capacity else options.more
        before = batch_sizes(server.http_url)
        deployments = Deployments(server, repository, options.deploy_every) if options.deploy_every else None
        if deployments is not None:
            stack.enter_context(deployments)
        with Watch(server.pid) as watch:
            status = run_locust(server.grpc_url, options.users, options.seconds, more)
        batches = batch_sizes(server.http_url) - before
    watch.write(OUT / "memory.csv")
    moments = history(OUT, "load")
    plots.draw(OUT, moments, watch, batches)
    result = Result(
        machine=machine(),
        load=said(options, capacity, more),
        capacity=capacity,
        latency=latencies(OUT, "load"),
        failures=failures(OUT, "load"),
        growth=trends(moments, watch) if options.seconds >= JUDGED else [],
        batches=dict(batches),
        deployments=deployments.done if deployments else 0,
        refused=deployments.refused if deployments else [],
    )
    write(result, options.results, "soak" if options.deploy_every else "load")
    print(f"\n{page(result)}\n\nUNet's batches, rows: calls   {result.batches}\nreport, CSV and plots: {OUT}")
    print(verdict(result))
    return status or int((options.share is not None and result.grew) or bool(result.refused))


def measured_capacity(url: str, more: list[str]) -> float:
    """Edits a second that many users in a closed loop get answered."""
    closed = [*more, "--arrivals", "0", "--shape", "none"]
    run_locust(url, CAPACITY_USERS, CAPACITY_SECONDS, closed, name="capacity")
    return throughput(history(OUT, "capacity"), CAPACITY_WARM_UP)


def run_locust(url: str, users: int, seconds: int, more: list[str], *, name: str = "load") -> int:
    """Locust's exit status; it prints its table as it goes, and its files in `OUT` begin with `name`."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless",
               "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--stop-timeout", "10",
               "--only-summary", "--csv", str(OUT / name), "--csv-full-history", "--html", str(OUT / f"{name}.html"),
               *more]  # fmt: skip
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}).returncode


def batch_sizes(url: str) -> Counter[int]:
    """How often the UNet ran with how many rows, from Triton's statistics."""
    with urllib.request.urlopen(f"http://{url}/v2/models/unet/stats") as answer:
        versions = json.load(answer)["model_stats"]
    sizes: Counter[int] = Counter()
    for row in (row for version in versions for row in version["batch_stats"]):
        sizes[int(row["batch_size"])] += int(row["compute_infer"]["count"])
    return sizes


def said(options: argparse.Namespace, capacity: float | None, more: list[str]) -> str:
    """What was asked of the server."""
    asked = f"Locust with {options.users} users for {options.seconds} s {' '.join(more)}".strip()
    return asked + (f": {options.share} of the {capacity:.2f} edits a second of a closed loop" if capacity else "")


def write(result: Result, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(page(result) + "\n")
    (folder / f"{name}.json").write_text(json.dumps({**asdict(result), "verdict": verdict(result)}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
