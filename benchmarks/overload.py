"""Does a flood cost the edits that a server can do? `python -m benchmarks.overload`, or `make overload`.

A closed loop of 16 clients, who come again after a refusal, measures how many edits a second are answered. Then edits
are asked for at random: a while at half of that (normal), a minute at five times that (the flood), and again at half of
that (after); of these no call is tried again. The generator sends encoded bytes and reads no answers, for it shares the
cores.

Exit status 1 when goodput is below 0.9 of the capacity, a refusal takes 100 ms or more (p99), an answer has no name of
ours, or service is not normal again within 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import operator
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from benchmarks.machine import machine
from benchmarks.quality.cases import REPOSITORY, RESULTS, cases
from export.demo import world
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config
from serving.triton_errors import parse_error

CLIENTS, PICTURES, STEPS = 16, 100, 20
NORMAL_SHARE = 0.5
IN_A_ROW = 5
"""So many normal answers in a row are normal service."""
TARGETS = {
    "goodput / capacity": (">=", 0.9),
    "refusal p99, s": ("<", 0.1),
    "untyped errors": ("<=", 0),
    "seconds until normal": ("<=", 5),
}


@dataclass(frozen=True)
class Answer:
    """One call: when it was sent and how long it took, in seconds; `name` is "edit", an error's, or "untyped"."""

    sent: float
    seconds: float
    name: str


class Requests:
    """Encoded requests without end: the pictures come again after all others, the sentences hardly ever."""

    def __init__(self, pictures: int = PICTURES, steps: int = STEPS, images: int = 1):
        self._rng = random.Random(world.HELD_OUT)
        self._pictures = [
            (_png(case.scene.image), case.name, case.thing.kind) for case in cases(world.HELD_OUT, pictures)
        ]
        self._options = {"num_inference_steps": steps, "num_images": images}
        self._next = 0

    def make(self) -> bytes:
        image, name, kind = self._pictures[self._next % len(self._pictures)]
        self._next += 1
        other = self._rng.choice([known for known in world.KINDS if known != kind])
        sentence = f"Replace the {name} with a {self._rng.choice(world.COLOURS)} {other}"
        request = service_pb2.ModelInferRequest(model_name="replace")
        for tensor, value in {"image": image, "prompt": sentence.encode()}.items():
            request.inputs.add(name=tensor, datatype="BYTES", shape=[1, 1])
            request.raw_input_contents.append(serialize_byte_tensor(np.array([value], np.object_)).item())
        for name, number in self._options.items():
            request.inputs.add(name=name, datatype="INT32", shape=[1, 1])
            request.raw_input_contents.append(np.int32(number).tobytes())
        return request.SerializeToString()


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


Ask = Callable[[bytes], Awaitable[Answer]]


def asker(channel: grpc.aio.Channel, timeout: float = 120) -> Ask:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    async def ask(request: bytes) -> Answer:
        sent = time.perf_counter()
        try:
            await infer(request, timeout=timeout)
            name = "edit"
        except grpc.aio.AioRpcError as error:
            typed = parse_error(error.details() or "")
            name = typed.name if typed is not None else f"untyped: {error.code().name}: {error.details()}"
        return Answer(sent, time.perf_counter() - sent, name)

    return ask


async def closed_loop(ask: Ask, requests: Requests, seconds: float, clients: int = CLIENTS) -> float:
    """Edits a second that so many clients get, each asking again when it is answered, or a while after a refusal."""
    rng = random.Random(0)
    end = time.perf_counter() + seconds
    edits = 0

    async def client() -> None:
        nonlocal edits
        while time.perf_counter() < end:
            answer = await ask(requests.make())
            edits += answer.name == "edit" and time.perf_counter() < end
            if answer.name != "edit":
                await asyncio.sleep(rng.uniform(0.2, 0.4))

    await asyncio.gather(*(client() for _ in range(clients)))
    return edits / seconds


async def open_loop(ask: Ask, requests: Requests, rate: float, seconds: float) -> list[asyncio.Future[Answer]]:
    """Calls that come at random, `rate` a second, whatever becomes of those before; the last are not answered yet."""
    rng = random.Random(0)
    end = time.perf_counter() + seconds
    due = time.perf_counter()
    calls: list[asyncio.Future[Answer]] = []
    while (due := due + rng.expovariate(rate)) < end:
        request = requests.make()
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calls.append(asyncio.ensure_future(ask(request)))
    await asyncio.sleep(max(0.0, end - time.perf_counter()))
    return calls


async def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a server at `url` does before, in and after a flood."""
    requests = Requests()
    channel = grpc.aio.insecure_channel(url, options=[("grpc.max_receive_message_length", -1)])
    async with channel:
        ask = asker(channel)
        await closed_loop(ask, requests, 3)  # warm
        capacity = await closed_loop(ask, requests, options.capacity_seconds)
        calm = NORMAL_SHARE * capacity
        normal = await asyncio.gather(*await open_loop(ask, requests, calm, options.normal_seconds))
        began = time.perf_counter()
        flooding = await open_loop(ask, requests, options.factor * capacity, options.seconds)
        ended = time.perf_counter()
        after = await asyncio.gather(*await open_loop(ask, requests, calm, options.normal_seconds))
        flood = await asyncio.gather(*flooding)
    in_time = sum(a.name == "edit" and a.sent + a.seconds <= ended for a in flood)
    refusals = [a.seconds for a in flood if a.name == "overloaded"]
    untyped = Counter(a.name for a in (*normal, *flood, *after) if a.name.startswith("untyped"))
    p50, p99 = np.quantile(refusals, (0.5, 0.99)) if refusals else (0.0, 0.0)
    edits = [a.seconds for a in flood if a.name == "edit"]
    return {
        "capacity, edits/s": round(capacity, 2),
        "calls/s in the flood": round(len(flood) / (ended - began), 1),
        "goodput, edits/s": round(in_time / (ended - began), 2),
        "goodput / capacity": round(in_time / (ended - began) / capacity, 3),
        "answers": dict(Counter(a.name for a in flood)),
        "refusal p50, s": round(float(p50), 4),
        "refusal p99, s": round(float(p99), 4),
        "edit p50 in the flood, s": round(float(np.median(edits)), 2) if edits else None,
        "edit p50 before, s": round(float(np.median([a.seconds for a in normal])), 2),
        "untyped errors": sum(untyped.values()),
        "untyped": dict(untyped),
        "seconds until normal": round(until_normal(normal, after, ended), 2),
    }


def until_normal(normal: Sequence[Answer], after: Sequence[Answer], ended: float) -> float:
    """Seconds from `ended` to the first of `IN_A_ROW` calls of which none is refused, or slower than all of `normal`.

    Infinite when there are none.
    """
    slowest = max(answer.seconds for answer in normal)
    fine = [answer.name != "overloaded" and answer.seconds <= slowest for answer in after]
    rows = (i for i in range(len(fine) - IN_A_ROW + 1) if all(fine[i : i + IN_A_ROW]))
    first = next(rows, None)
    return float("inf") if first is None else after[first].sent - ended


def met(figures: dict[str, Any]) -> dict[str, bool]:
    """Whether each figure of `TARGETS` reaches its target."""
    compare = {">=": operator.ge, "<": operator.lt, "<=": operator.le}
    return {name: compare[sign](figures[name], target) for name, (sign, target) in TARGETS.items()}


def page(said: str, figures: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [said, "", "| measured | | target | met |", "|---|---|---|---|"]
    fine = met(figures)
    for name, value in figures.items():
        sign, target = TARGETS.get(name, ("", ""))
        verdict = {None: "", True: "yes", False: "**no**"}[fine.get(name)]
        lines.append(f"| {name} | {value} | {sign} {target} | {verdict} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factor", type=float, default=5.0, help="of the capacity (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the flood (default: %(default)s)")
    parser.add_argument("--capacity-seconds", type=float, default=30.0, help="(default: %(default)s)")
    parser.add_argument("--normal-seconds", type=float, default=30.0, help="before and after (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of overload.md and .json")
    options = parser.parse_args()
    with start(ServerOptions(REPOSITORY, config=quickest_config())) as server:
        figures = asyncio.run(measure(server.grpc_url, options))
    said = (f"Calls at {options.factor:g} times the capacity for {options.seconds:g} s, each an edit of {STEPS} steps. "
            f"{machine()}, shared with the generator.")  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "overload.md").write_text(page(said, figures))
    document = {"said": said, **figures, "met": met(figures)}
    (options.results / "overload.json").write_text(json.dumps(document, indent=1) + "\n")
    print(page(said, figures))
    return 0 if all(met(figures).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
