"""Two replicas behind HAProxy under load, one killed and one stopped in turn: `python -m benchmarks.replicas`.

Closed-loop clients with their retries on ask through the proxy all the while. Both replicas work for a third of the
time, which tells how they share; then one's tritonserver is killed and comes back by its supervisor, then the other is
stopped as an operator would. Exit status 1 when an edit failed or the shares differ by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from recast import Client, RecastError

from benchmarks.fleet import HAPROXY, MISSING, Proxy, Replica, free_ports, until
from benchmarks.machine import machine

RESULTS = Path("benchmarks/results")
PICTURE = Path(__file__).parents[1] / "docker/health.png"
SENTENCE = "Replace the car with a bicycle"
START = 120.0
"""Seconds that two replicas may take to start on a busy machine."""
WITHIN = 0.1


class Load:
    """Clients that ask `url` for one edit after the other while the context is open.

    `seconds` holds how long each answered edit took and `failures` what went wrong, in the order of their ends.
    """

    def __init__(self, url: str, clients: int, steps: int, *, timeout: float = 60.0):
        self.seconds: list[float] = []
        self.failures: list[RecastError] = []
        self._ended = threading.Event()
        self._client = Client(url, timeout=timeout)
        self._steps = steps
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def more(self, edits: int, seconds: float) -> None:
        """Wait until so many more edits are answered."""
        goal = len(self.seconds) + edits
        until(lambda: len(self.seconds) >= goal, seconds, f"{edits} more edits")

    def _ask(self) -> None:
        while not self._ended.is_set():
            started = time.monotonic()
            try:
                self._client.replace(PICTURE, SENTENCE, num_inference_steps=self._steps)
            except RecastError as error:
                self.failures.append(error)
            else:
                self.seconds.append(time.monotonic() - started)


@dataclass(frozen=True)
class Result:
    """`served` are the edits of each replica while both worked; `longest` is in seconds, of any edit of the run."""

    machine: str
    clients: int
    seconds: float
    edits: int
    failures: list[str]
    served: list[int]
    median: float
    longest: float
    back: float

    @property
    def difference(self) -> float:
        """Of the two replicas' edits, as a share of the larger."""
        return 1 - min(self.served) / max(self.served)

    @property
    def met(self) -> bool:
        return not self.failures and self.difference <= WITHIN


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replicas", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the summary (default: %(default)s)")
    options = parser.parse_args()
    if HAPROXY is None:
        parser.error(MISSING)
    result = measure(options.clients, options.steps, options.seconds)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "replicas.json").write_text(json.dumps(asdict(result), indent=1) + "\n")
    (options.results / "replicas.md").write_text(page(result) + "\n")
    print(page(result))
    return 0 if result.met else 1


def measure(clients: int, steps: int, seconds: float) -> Result:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recast-replicas-")))
        ports = free_ports(2)
        first, second = (
            stack.enter_context(Replica(host, ports, folder / host)) for host in ("127.0.0.1", "127.0.0.2")
        )
        proxy = stack.enter_context(Proxy(first.url, second.url, http_port=ports[1], patience=START))
        started = time.monotonic()
        with Load(proxy.url, clients, steps) as load:
            load.more(2 * clients, START)  # the first edits of a replica are slow
            before = proxy.served()
            time.sleep(seconds / 3)
            served = [after - early for after, early in zip(proxy.served(), before, strict=True)]
            first.kill()
            killed = time.monotonic()
            proxy.wait(False, True)
            proxy.wait(True, True, seconds=START)
            back = time.monotonic() - killed
            status = second.drain()
            assert status == 0, f"the stopped replica ended with status {status}"
            time.sleep(max(0.0, started + seconds - time.monotonic()))
        return Result(
            machine=machine(),
            clients=clients,
            seconds=round(time.monotonic() - started, 1),
            edits=len(load.seconds),
            failures=[error.name for error in load.failures],
            served=served,
            median=round(statistics.median(load.seconds), 3),
            longest=round(max(load.seconds), 3),
            back=round(back, 1),
        )


def page(result: Result) -> str:
    """The result as Markdown."""
    first, second = result.served
    return (
        f"{result.clients} clients with retries for {result.seconds:.0f} s, two replicas behind HAProxy on one machine "
        f"({result.machine}): **{len(result.failures)} of {result.edits + len(result.failures)} edits failed.**\n\n"
        "| | |\n|---|---|\n"
        f"| edits of each replica while both worked | {first} and {second}: {result.difference:.0%} apart |\n"
        f"| from `kill -9` of a replica's tritonserver until it gets edits again | {result.back:.1f} s |\n"
        f"| an edit took, median and longest | {result.median:.2f} s and {result.longest:.2f} s |"
    )


if __name__ == "__main__":
    sys.exit(main())
