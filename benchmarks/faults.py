"""What dies comes back, who leaves leaves nothing: `python -m benchmarks.faults`, or `make faults`.

Under load each step's processes are killed in turn, then a network's, then tritonserver itself. Two clients try again
as clients do, one does not: how soon is an edit answered that began after the kill, and what did whom fail? Then a
hundred clients with an edit each vanish without a word, again and again: what work and what memory do they leave?
Exit status 1 when a target is missed. Writes faults.md and faults.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton
from recast import Client, RecastError

from benchmarks.fleet import Replica, free_ports, until
from benchmarks.load.growth import memory
from benchmarks.machine import machine
from benchmarks.replicas import PICTURE, SENTENCE, START
from serving.launcher.processes import stubs

LOG = Path("build/faults.log")
VICTIMS = ("admit", "parse", "mask", "inpaint", "replace_stream", "text_encoder", "unet", "vae_decoder")
SERVER = "tritonserver"
STEPS = 8
WITHIN, SERVER_WITHIN, GROWTH = 15.0, 60.0, 1.03
"""Targets: seconds until an edit is answered again, and the most that memory may be of what it was."""
LEAVERS = """
import asyncio, sys
import recast

async def follow(client):
    async for step in client.replace_stream(sys.argv[2], sys.argv[3], num_inference_steps=50):
        if step.stage == "inpaint":
            print(step.step, flush=True)

async def main():
    async with recast.AsyncClient(sys.argv[1], retries=1000, timeout=None) as client:
        await asyncio.gather(*(follow(client) for _ in range(int(sys.argv[4]))))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Call:
    """One edit: monotonic seconds, and the name of what it failed with, if it did."""

    patient: bool
    began: float
    ended: float
    error: str | None


class Callers:
    """Two clients that try again and one that does not, each with one edit after the other, while the context is
    open."""

    def __init__(self, url: str) -> None:
        self.calls: list[Call] = []
        self._ended = threading.Event()
        self._clients = [Client(url), Client(url), Client(url, retries=0)]
        self._threads = [
            threading.Thread(target=self._ask, args=(client, client is not self._clients[-1]))
            for client in self._clients
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        self.answered(time.monotonic(), len(self._threads))
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def answered(self, since: float, count: int = 1) -> list[Call]:
        """The first `count` edits that began after `since` and were answered."""

        def found() -> list[Call]:
            return [call for call in self.calls if call.error is None and call.began > since][:count]

        until(lambda: len(found()) == count, START, f"{count} edits")
        return found()

    def _ask(self, client: Client, patient: bool) -> None:
        while not self._ended.is_set():
            began, error = time.monotonic(), None
            try:
                client.replace(PICTURE, SENTENCE, num_inference_steps=STEPS)
            except RecastError as failure:
                error = failure.name
            self.calls.append(Call(patient, began, time.monotonic(), error))
            if error is not None:
                time.sleep(0.1)


def kills(replica: Replica, repeats: int) -> dict[str, Any]:
    """Seconds until an edit is answered again, by what was killed; and how the calls of all that time failed."""
    back: dict[str, list[float]] = {}
    with Callers(replica.url) as callers:
        for victim in [*VICTIMS, SERVER] * repeats:
            time.sleep(1)
            kill(replica, victim)
            killed = time.monotonic()
            back.setdefault(victim, []).append(round(callers.answered(killed)[0].ended - killed, 1))
            print(f"{victim}: {back[victim][-1]} s", file=sys.stderr)
            callers.answered(time.monotonic(), 6)
    failed = {
        kind: dict(Counter(call.error for call in callers.calls if call.error and call.patient is patient))
        for kind, patient in (("patient", True), ("plain", False))
    }
    return {"back": back, "edits": len(callers.calls), **failed}


def kill(replica: Replica, victim: str) -> None:
    server = replica.tritonserver()
    victims = [stub.pid for stub in stubs(server) if stub.model == victim] if victim != SERVER else [server]
    assert victims, f"there is no process of {victim}"
    for pid in victims:
        os.kill(pid, signal.SIGKILL)


def vanishing(replica: Replica, clients: int, rounds: int) -> dict[str, Any]:
    """Megabytes before and after each time that so many clients vanished, and the UNet's executions after that."""
    found: dict[str, Any] = {"megabytes": [], "steps after they left": []}
    with triton.InferenceServerClient(replica.url) as raw, Client(replica.url) as client:
        for _ in range(8):
            client.replace(PICTURE, SENTENCE, num_inference_steps=STEPS)
        leave(replica.url, clients)  # what is kept on purpose is taken now
        still(raw)
        found["megabytes"].append(round(sum(memory(replica.tritonserver()).values())))
        for number in range(rounds):
            left = leave(replica.url, clients, raw)
            found["steps after they left"].append(still(raw) - left)
            client.replace(PICTURE, SENTENCE, num_inference_steps=STEPS)
            found["megabytes"].append(round(sum(memory(replica.tritonserver()).values())))
            print(f"round {number + 1}: {found['megabytes'][-1]} MB", file=sys.stderr)
    return found


def leave(url: str, clients: int, raw: triton.InferenceServerClient | None = None) -> int:
    """Kill a process with so many streams at work or at the door; the UNet's executions at that moment."""
    command = [sys.executable, "-c", LEAVERS, url, str(PICTURE), SENTENCE, str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline().strip().isdecimal()
        executed = executions(raw) if raw is not None else 0
        process.kill()
    return executed


def still(raw: triton.InferenceServerClient) -> int:
    """The UNet's executions when there have been no more of them for three seconds."""
    last, since = executions(raw), time.monotonic()
    start = since
    while time.monotonic() - since < 3:
        assert time.monotonic() - start < START, "the work of those who left goes on"
        time.sleep(0.1)
        if (now := executions(raw)) != last:
            last, since = now, time.monotonic()
    return last


def executions(raw: triton.InferenceServerClient) -> int:
    return sum(stats.execution_count for stats in raw.get_inference_statistics("unet").model_stats)


def missed(figures: dict[str, Any]) -> list[str]:
    """The targets that were, in words."""
    worst = {victim: max(seconds) for victim, seconds in figures["back"].items()}
    found = [f"{victim} was away for {seconds} s" for victim, seconds in worst.items() if seconds > limit(victim)]
    found += [f"{count} {name} for who tries again" for name, count in figures["patient"].items()]
    found += [f"{count} {name}" for name, count in figures["plain"].items() if name not in ("restarting", "overloaded")]
    if growth(figures["megabytes"]) > GROWTH:
        found.append(f"memory x {growth(figures['megabytes']):.3f}")
    return found


def limit(victim: str) -> float:
    """Seconds that `victim` may be away."""
    return SERVER_WITHIN if victim == SERVER else WITHIN


def growth(megabytes: list[int]) -> float:
    """The last of them over the middle one: until then every process takes the memory of the largest batches."""
    return megabytes[-1] / megabytes[len(megabytes) // 2]


def page(said: str, figures: dict[str, Any], clients: int) -> str:
    """The figures as Markdown."""
    lines = [
        f"{said} **{'Missed: ' + '; '.join(missed(figures)) if missed(figures) else 'All targets met'}.**",
        "",
        "| kill -9 of every process of | seconds until an edit that began after it is answered | at most |",
        "|---|---|---|",
    ]
    for victim, seconds in figures["back"].items():
        times = ", ".join(str(each) for each in seconds)
        lines.append(f"| {victim} | {statistics.median(seconds):.1f} ({times}) | {limit(victim):.0f} |")
    plain = ", ".join(f"{count} {name}" for name, count in figures["plain"].items()) or "none"
    patient = ", ".join(f"{count} {name}" for name, count in figures["patient"].items()) or "none"
    lines += [
        "",
        f"Of {figures['edits']} edits of three clients failed: {patient} of the two that try again; {plain} of the one "
        "that does not.",
        "",
        f"{clients} clients that vanish, after a first time: the UNet ran "
        f"{', '.join(map(str, figures['steps after they left']))} times more; megabytes before and after each time: "
        f"{', '.join(map(str, figures['megabytes']))} (the last over the middle one: x "
        f"{growth(figures['megabytes']):.3f}, at most {GROWTH}).",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each kill (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=100, help="that vanish together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=8, help="that they vanish (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    parts = (
        partial(vanishing, clients=options.clients, rounds=options.rounds),
        partial(kills, repeats=options.repeats),
    )
    for part in parts:
        with Replica("127.0.0.1", free_ports(2), LOG) as replica, Client(replica.url, timeout=5) as client:
            until(partial(ready, client), START, "the server is ready")
            figures |= part(replica)
    text = page(f"{machine()}, shared with the clients.", figures, options.clients)
    (options.results / "faults.md").write_text(text + "\n")
    (options.results / "faults.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)
    return int(bool(missed(figures)))


def ready(client: Client) -> bool:
    try:
        return client.status().ready
    except RecastError:
        return False


if __name__ == "__main__":
    sys.exit(main())
