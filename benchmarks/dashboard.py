"""What the dashboard shows of a server under load: `python -m benchmarks.dashboard`, or `make dashboard`.

A real Prometheus with docker/monitoring/prometheus.yml scrapes a real server that clients ask for edits, now and then
for more than it has places for. Then each query of each panel is answered, into results/dashboard.md. Exit status 1
when a query has no answer; those of GPUs may have none where there is none.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

import yaml
from recast import Client, RecastError

from benchmarks.fleet import free_ports, until
from benchmarks.machine import machine
from benchmarks.quality.cases import REPOSITORY, RESULTS
from serving.launcher.processes import die_with_parent
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

FOLDER = Path(__file__).parents[1] / "docker/monitoring"
PICTURE = Path(__file__).parents[1] / "docker/health.png"
SENTENCES = ("Replace the car with a bicycle", "Remove the car", "Make the car blue", "What a lovely day")
PROMETHEUS = shutil.which("prometheus")
MISSING = "there is no prometheus: install Debian's package prometheus"
CLIENTS, FLOOD, STEPS = 6, 40, 8
SECONDS, PAUSE = 40.0, 5.0


@dataclass(frozen=True)
class Query:
    """A panel's PromQL expression as Grafana sends it, and how the panel names its series, such as "{{model}}"."""

    panel: str
    expression: str
    legend: str

    @property
    def of_gpus(self) -> bool:
        return "nv_gpu_" in self.expression

    def name(self, labels: dict[str, str]) -> str:
        """The name of the series with these labels in the panel's legend."""
        name = self.legend
        for label, value in labels.items():
            name = name.replace(f"{{{{{label}}}}}", value)
        return name


def queries(window: str = "15s") -> list[Query]:
    """Of the dashboard in its order; `window` is what rates are taken over."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return [
        Query(
            panel["title"],
            target["expr"].replace("$__rate_interval", window).replace("$instance", ".+"),
            target["legendFormat"],
        )
        for panel in panels
        for target in panel.get("targets", ())
    ]


def alerts() -> dict[str, str]:
    """The expression of each alert by name."""
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


class Prometheus:
    """A Prometheus with our configuration that scrapes `target`, host:port, every second. A context manager."""

    def __init__(self, target: str):
        self.url = f"127.0.0.1:{free_ports(1)[0]}"
        self._target = target

    def __enter__(self) -> Prometheus:
        self._folder = Path(tempfile.mkdtemp(prefix="recast-prometheus-"))
        command = [str(PROMETHEUS), f"--config.file={self._configuration()}", f"--web.listen-address={self.url}",
                   f"--storage.tsdb.path={self._folder}/data", "--log.level=warn"]  # fmt: skip
        self._process = subprocess.Popen(command, preexec_fn=die_with_parent)
        try:
            until(lambda: bool(self._answered("up == 1")), 20, "Prometheus scrapes the server")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The series that answer it now: labels and value."""
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def get(self, what: str, **parameters: str) -> Any:
        """The data that Prometheus' HTTP API answers; urllib's HTTPError for an expression that is none."""
        address = f"http://{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def _answered(self, expression: str) -> list[tuple[dict[str, str], float]]:
        with suppress(OSError):  # it has not opened its port yet
            return self.query(expression)
        return []

    def _configuration(self) -> Path:
        """Ours, but for the target and the intervals."""
        settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        settings["scrape_configs"][0]["static_configs"] = [{"targets": [self._target]}]
        settings["rule_files"] = [str(FOLDER / name) for name in settings["rule_files"]]
        path = self._folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(settings))
        return path


def ask(client: Client, number: int, steps: int = STEPS) -> str:
    """One edit; "ok" or the error's name."""
    try:
        client.replace(PICTURE.read_bytes(), SENTENCES[number % len(SENTENCES)], seed=number, num_inference_steps=steps)
    except RecastError as error:
        return error.name
    return "ok"


def flood(client: Client, calls: int = FLOOD) -> list[str]:
    """More edits at once than there are places; how each ended."""
    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(lambda number: ask(client, 0, 1), range(calls)))


def leave(client: Client) -> None:
    """A streamed edit whose caller goes after a few steps."""
    steps = client.replace_stream(PICTURE.read_bytes(), SENTENCES[0], num_inference_steps=50)
    list(islice(steps, 5))
    steps.close()


@contextmanager
def load(url: str) -> Iterator[None]:
    """Closed-loop clients for as long as the context is open; now and then a flood, and a caller who leaves."""
    ended = threading.Event()

    def work(first: int) -> None:
        for number in takewhile(lambda _: not ended.is_set(), count(first, CLIENTS)):
            ask(client, number)

    def disturb() -> None:
        while not ended.wait(PAUSE):
            leave(client)
            flood(client)

    with Client(url, timeout=60, retries=0) as client, ThreadPoolExecutor(CLIENTS + 1) as pool:
        running = [pool.submit(disturb), *(pool.submit(work, number) for number in range(CLIENTS))]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()


def rows(prometheus: Prometheus) -> Iterator[tuple[Query, str]]:
    """Each query with its answer in words, "" when there is none."""
    for query in queries():
        series = [(query.name(labels), value) for labels, value in prometheus.query(query.expression)]
        yield query, ", ".join(f"{name} {value:.4g}" for name, value in series if not math.isnan(value))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load (default: %(default)g)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where dashboard.md goes")
    options = parser.parse_args()
    if PROMETHEUS is None:
        print(MISSING, file=sys.stderr)
        return 1
    with (
        start(ServerOptions(REPOSITORY, config=quickest_config())) as server,
        Prometheus(server.metrics_url) as prometheus,
    ):
        with load(server.grpc_url):
            time.sleep(options.seconds)
            answers = list(rows(prometheus))
            active = prometheus.get("alerts")["alerts"]
    write(options.results, answers, [f"{alert['labels']['alertname']} ({alert['state']})" for alert in active])
    silent = [query.panel for query, answer in answers if not answer and not query.of_gpus]
    if silent:
        print(f"no answer: {', '.join(silent)}", file=sys.stderr)
    return bool(silent)


def write(folder: Path, answers: list[tuple[Query, str]], active: list[str]) -> None:
    """dashboard.md, and the same to the screen."""
    lines = [
        f"What each query of docker/monitoring/dashboard.json answered while {CLIENTS} clients asked for edits, among",
        f"floods of {FLOOD} calls, through Prometheus, on {machine()}. `make dashboard` renews it.",
        "",
        "| panel | answer |",
        "|---|---|",
        *(f"| {query.panel} | {answer or 'none'} |" for query, answer in answers),
        "",
        f"Alerts meanwhile: {', '.join(active) or 'none'}.",
    ]
    (folder / "dashboard.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
