"""Starts a server, loads it with Locust and shows what it held: `python -m benchmarks.load --users 8 --seconds 60`.

Further options are Locust's and those of benchmarks/locustfile.py, as in `-- --arrivals 2 --steps 20`. Locust's CSV
files and its HTML report go to build/load/, with plots of latency and throughput over time and of the batches that
the UNet ran in.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from serving.launcher import Server

OUT = Path("build/load")
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("more", nargs="*", help="for Locust, after --")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with Server(Path("model_repository")) as server:
        status = run_locust(server.grpc_url, options.users, options.seconds, options.more)
        batches = batch_sizes(server.http_url)
    plot(batches)
    print(f"\nUNet's batches, rows: calls   {batches}\nreport, CSV and plots: {OUT}")
    return status


def run_locust(url: str, users: int, seconds: int, more: list[str]) -> int:
    """Locust's exit status; it prints its table as it goes."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--headless",
               "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--only-summary",
               "--csv", str(OUT / "load"), "--csv-full-history", "--html", str(OUT / "load.html"), *more]  # fmt: skip
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}).returncode


def batch_sizes(url: str) -> dict[int, int]:
    """How often the UNet ran with how many rows, from Triton's statistics."""
    with urllib.request.urlopen(f"http://{url}/v2/models/unet/stats") as answer:
        (model, *_) = json.load(answer)["model_stats"]
    return {int(row["batch_size"]): int(row["compute_infer"]["count"]) for row in model["batch_stats"]}


def plot(batches: dict[int, int]) -> None:
    """Latency and throughput over time, and the batches, as PNG files in `OUT`."""
    matplotlib.use("Agg")
    with (OUT / "load_stats_history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["Name"] == "replace" and row["50%"] not in ("", "N/A")]
    if rows:
        seconds = [int(row["Timestamp"]) - int(rows[0]["Timestamp"]) for row in rows]
        figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6))
        for percentile in ("50%", "95%", "99%"):
            above.plot(seconds, [float(row[percentile]) / 1e3 for row in rows], label=percentile)
        above.set_ylabel("seconds an edit")
        above.legend()
        below.plot(seconds, [float(row["Requests/s"]) for row in rows])
        below.set_ylabel("edits a second")
        below.set_xlabel("seconds")
        figure.savefig(OUT / "over-time.png")
    figure, axes = pyplot.subplots(figsize=(8, 4))
    axes.bar(list(batches), list(batches.values()))
    axes.set_xlabel("rows in one call of the UNet")
    axes.set_ylabel("calls")
    figure.savefig(OUT / "batches.png")


if __name__ == "__main__":
    sys.exit(main())
