"""What callers can do to a server: `python -m benchmarks.callers`, or `make callers`.

Calls whose gRPC deadline passes as they arrive, 0 to 5 ms, from four threads, by our client and by bare grpcio, which
makes tritonserver crash (docker/THREATS.md): how often, how long it is away, and what that costs a patient client
beside them. Then long edits at twice the capacity: nothing may be taken for dead and started again.

Exit status 1 when our client brings about a restart, the patient client loses an edit, the server is not back at the
end, or under long edits anything is started again or fails but by `overloaded`. Writes callers.md and callers.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from recast import Client, DeadlineExceeded

from benchmarks.faults import ready
from benchmarks.fleet import Replica, free_ports, until
from benchmarks.machine import machine
from benchmarks.overload import Requests, asker, closed_loop, open_loop
from benchmarks.replicas import PICTURE, SENTENCE, START, Load

THREADS, LONGEST = 4, 0.005
"""Threads that call, and the longest of their deadlines in seconds."""
LONG_STEPS, LONG_IMAGES, FACTOR = 100, 4, 2.0
CLIENTS, CAPACITY_SECONDS = 4, 120.0
"""Clients of long edits, and for how long, that tell how many a server answers."""
LOG = Path("build/callers.log")
Part = Callable[[Replica], dict[str, Any]]


def started_again() -> dict[str, int]:
    """How often the supervisor has started what, by its log."""
    found = re.findall(r"restarts of (\S+): (\d+)", LOG.read_text(errors="replace"))
    return {name: int(count) for name, count in found}


def early(replica: Replica, calls: int, call: Callable[[str, random.Random], Callable[[], str]]) -> dict[str, Any]:
    """Make `calls` from THREADS threads, each by what `call` makes of the address and a source of deadlines."""
    answers: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_repeat, args=(call(replica.url, random.Random(n)), calls // THREADS, answers))
        for n in range(THREADS)
    ]
    with Load(replica.url, clients=1, steps=4, timeout=120) as patient:
        patient.more(1, START)
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        patient.more(2, START)  # the server is there, whatever came before
    return {
        "calls": sum(answers.values()),
        "seconds": round(took),
        "answers": dict(answers),
        "started again": started_again(),
        "seconds until it was back": _away(),
        "patient client's edits": len(patient.seconds),
        "its failures": [error.name for error in patient.failures],
        "its longest edit, s": round(max(patient.seconds), 1),
    }


def _repeat(call: Callable[[], str], count: int, answers: Counter[str]) -> None:
    done = 0
    while done < count:
        answer = call()
        if answer == "UNAVAILABLE":  # a call that met no server counts for nothing
            time.sleep(0.1)
            continue
        answers[answer] += 1
        done += 1


def _away() -> list[float]:
    return [float(seconds) for seconds in re.findall(r"tritonserver: .*started again in ([\d.]+) s", LOG.read_text())]


def bare(url: str, deadlines: random.Random) -> Callable[[], str]:
    """A call of grpcio, cancelled at its deadline wherever it is; its code."""
    channel = grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)])
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    request = Requests(steps=1, pictures=1).make()

    def call() -> str:
        try:
            infer(request, timeout=deadlines.uniform(0, LONGEST))
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    return call


def ours(url: str, deadlines: random.Random) -> Callable[[], str]:
    """A call of our client with such a timeout."""
    client = Client(url)

    def call() -> str:
        try:
            client.replace(PICTURE, SENTENCE, num_inference_steps=1, timeout=max(1e-6, deadlines.uniform(0, LONGEST)))
        except DeadlineExceeded as error:
            return error.name
        return "OK"

    return call


def long_edits(replica: Replica, seconds: float) -> dict[str, Any]:
    """Edits of LONG_STEPS steps and LONG_IMAGES images at FACTOR times what the server answers."""
    return asyncio.run(_long_edits(replica.url, seconds)) | {"started again": started_again()}


async def _long_edits(url: str, seconds: float) -> dict[str, Any]:
    requests = Requests(steps=LONG_STEPS, images=LONG_IMAGES)
    async with grpc.aio.insecure_channel(url, options=[("grpc.max_receive_message_length", -1)]) as channel:
        ask = asker(channel, timeout=600)
        capacity = await closed_loop(ask, requests, CAPACITY_SECONDS, CLIENTS)
        answers = await asyncio.gather(*await open_loop(ask, requests, FACTOR * capacity, seconds))
    return {
        "edits/s it can do": round(capacity, 3),
        "asked for": len(answers),
        "answers": dict(Counter(answer.name for answer in answers)),
        "longest, s": round(max(answer.seconds for answer in answers), 1),
    }


def missed(figures: dict[str, dict[str, Any]]) -> list[str]:
    """The targets that were, in words."""
    found = [f"{name}: the patient client lost {each['its failures']}" for name, each in figures.items()
             if each.get("its failures")]  # fmt: skip
    if figures["our client"]["started again"]:
        found.append("our client made the server start again")
    flood = figures["long edits"]
    found += [f"{count} {name}" for name, count in flood["answers"].items() if name not in ("edit", "overloaded")]
    if flood["started again"]:
        found.append(f"started again under long edits: {flood['started again']}")
    return found


def page(said: str, figures: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    wrong = missed(figures)
    lines = [f"{said} **{'Missed: ' + '; '.join(wrong) if wrong else 'All targets met'}.**"]
    for name, each in figures.items():
        lines += ["", f"| {name} | |", "|---|---|", *(f"| {key} | {told(value)} |" for key, value in each.items())]
    return "\n".join(lines)


def told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.callers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100_000, help="with early ends, of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600, help="of long edits (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Part] = {
        "our client": partial(early, calls=options.calls, call=ours),
        "bare grpcio": partial(early, calls=options.calls, call=bare),
        "long edits": partial(long_edits, seconds=options.seconds),
    }
    figures: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        with Replica("127.0.0.1", free_ports(2), LOG) as replica, Client(replica.url, timeout=5) as client:
            until(partial(ready, client), START, "the server is ready")
            figures[name] = part(replica)
            print(f"{name}: {figures[name]}", file=sys.stderr)
    text = page(f"{machine()}, shared with the callers.", figures)
    (options.results / "callers.md").write_text(text + "\n")
    (options.results / "callers.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)
    return int(bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
