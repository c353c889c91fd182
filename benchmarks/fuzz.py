"""Hostile requests over the wire: `python -m benchmarks.fuzz`, or `make fuzz`.

Ten thousand requests, drawn by hypothesis from a seed: good ones with some of their tensors, parameters, pictures or
names spoilt, and bytes that are no request at all, over gRPC (unary and streaming) and HTTP. None may crash a process,
be answered with an error that says nothing (`internal`), or with anything of the server's inside; afterwards a plain
edit gives the same picture as before, and the server's memory is where it was. Exit status 1 when one of that fails.
Writes fuzz.md and fuzz.json.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from recast import Client
from tritonclient.grpc import service_pb2_grpc

from benchmarks.hostile import ENTRY_MODELS, NETWORKS, Attack, Tensor, attacks, formats, good_inputs, message
from benchmarks.load.growth import memory, processes
from benchmarks.machine import machine
from benchmarks.quality.cases import REPOSITORY, cases
from export.demo import world
from serving.launcher.server import RunningServer, start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import quickest_config

LOG = Path("build/fuzz/tritonserver.log")
SERVICE = "/inference.GRPCInferenceService/"
PATIENCE = 60.0
"""Seconds that an answer may take: a hung server is a finding."""
WARM_UP = 0.2
"""Share of the requests after which memory is first looked at: until then it fills what it keeps on purpose."""
GROWTH = 1.03
LEAK = re.compile(
    r"Traceback|File \\?\"|\.py\b|\bat 0x[0-9a-f]{6,}|/(?:home|root|tmp|usr|opt|work|dev|proc)/|site-packages"
)
UNTYPED = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


@dataclass
class Tally:
    """What came back: answers by their kind, and up to twenty findings, each in a line."""

    answers: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    def find(self, kind: str, attack: Attack, text: str) -> None:
        self.findings[kind] += 1
        if len(self.said) < 20:
            self.said.append(f"{kind}: {attack.kind} {attack.model}: {text[:300]!r}")
            print(self.said[-1], file=sys.stderr)


class Wire:
    """Sends attacks to a server; `send` gives the status's name, and what was said."""

    def __init__(self, grpc_url: str, http_url: str) -> None:
        self.channel = grpc.insecure_channel(grpc_url, [("grpc.enable_http_proxy", 0)])
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.http_url = http_url

    def send(self, attack: Attack) -> Iterator[tuple[str, str]]:
        ways = {"request": self._unary, "stream": self._stream, "bytes": self._bytes, "http": self._http}
        try:
            yield from ways[attack.kind](attack)
        except grpc.RpcError as error:
            yield error.code().name, error.details() or ""

    def _unary(self, attack: Attack) -> Iterator[tuple[str, str]]:
        self.stub.ModelInfer(attack.request, timeout=PATIENCE)
        yield "OK", ""

    def _stream(self, attack: Attack) -> Iterator[tuple[str, str]]:
        for answer in self.stub.ModelStreamInfer(iter([attack.request]), timeout=PATIENCE):
            # A stream's errors have no status, only words: those of Recast begin with a name.
            text = answer.error_message
            yield ("INTERNAL" if re.search(r"\binternal: ", text) else "STREAM") if text else "OK", text

    def _bytes(self, attack: Attack) -> Iterator[tuple[str, str]]:
        call = self.channel.unary_unary(SERVICE + "ModelInfer", None, None)
        try:
            call(attack.data, timeout=PATIENCE)
            yield "OK", ""
        except grpc.RpcError as error:
            # gRPC itself, not Triton, says INTERNAL to what is no message.
            yield "GARBAGE" if error.code().name == "INTERNAL" else error.code().name, error.details() or ""

    def _http(self, attack: Attack) -> Iterator[tuple[str, str]]:
        connection = http.client.HTTPConnection(self.http_url, timeout=PATIENCE)
        headers = {} if attack.header is None else {"Inference-Header-Content-Length": str(attack.header)}
        try:
            connection.request("POST", f"/v2/models/{attack.model}/infer", attack.data, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            yield "OK" if answer.status < 400 else "HTTP" if _said(text) else "INTERNAL", text
        except (http.client.HTTPException, ConnectionError) as error:
            yield "HTTP", type(error).__name__
        finally:
            connection.close()


def _said(text: str) -> bool:
    """Whether an HTTP error says what is wrong; Triton answers 500 to JSON that it cannot read, with its reason."""
    try:
        reason = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text == ""  # of HTTP itself, such as a length that does not fit
    return reason != "" and "internal: " not in reason


def judge(tally: Tally, attack: Attack, status: str, text: str) -> None:
    tally.answers[status] += 1
    if status in UNTYPED:
        tally.find("untyped", attack, f"{status} {text}")
    if LEAK.search(text) and not attack.contains(LEAK):
        tally.find("leak", attack, text)


@dataclass
class Fuzzing:
    """A server under attack: `looks` are its memory in megabytes by process after so many requests."""

    server: RunningServer
    tally: Tally = field(default_factory=Tally)
    looks: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def run(self, count: int, chosen: int) -> None:
        """Send `count` requests, the same ones for the same `chosen` seed, between two edits that must be the same."""
        case = next(iter(cases(world.HELD_OUT, 1)))
        picture = Image.fromarray(case.scene.image).resize((256, 192))
        mask = Image.new("L", picture.size)
        mask.paste(255, (80, 60, 170, 130))
        files = [*formats(picture), *formats(mask)]
        inputs = good_inputs(files[0], files[len(files) // 2], f"Replace the {case.name} with a boat", case.name)
        alive = processes(self.server.pid)
        with Client(self.server.grpc_url, timeout=PATIENCE) as client:
            plain = partial(client.replace, picture, f"Remove the {case.name}", seed=7, num_inference_steps=2)
            before = plain().pngs
            plain(num_images=8)  # every batch that a network is compiled for takes its memory when it first comes
            self._warm(inputs)
            self._attack(attacks(inputs, files, set(alive.values())), count, chosen)
            if plain().pngs != before:
                self.tally.findings["changed"] += 1
        self.tally.findings["died"] += len(alive.keys() - processes(self.server.pid).keys())

    def _warm(self, inputs: dict[str, list[Tensor]]) -> None:
        """Every model answers its good request, a network in three rows too, as few of the attacks are: a process takes
        the memory for a shape or a batch when it first comes."""
        wire = Wire(self.server.grpc_url, self.server.http_url)
        alone = [(model, 1) for model in (*ENTRY_MODELS, *NETWORKS)]
        for model, rows in [*alone, *((model, 3) for model in NETWORKS)]:
            good = [Tensor(each.name, each.datatype, [rows, *each.shape[1:]], each.raw * rows)
                    for each in inputs[model]]  # fmt: skip
            answers = list(wire.send(Attack("request", model, message(model, good))))
            if answers != [("OK", "")]:
                raise ValueError(f"what shall be spoilt is not good: {model} says {answers}")

    def _attack(self, drawn: st.SearchStrategy[Attack], count: int, chosen: int) -> None:
        wire, numbers = Wire(self.server.grpc_url, self.server.http_url), itertools.count(1)

        @seed(chosen)
        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(drawn)
        def attack(each: Attack) -> None:
            number = next(numbers)
            for status, text in wire.send(each):
                judge(self.tally, each, status, text)
            if number in (round(count * WARM_UP), count) or (number % 1000 == 0 and number > count * WARM_UP):
                self.looks.append((number, memory(self.server.pid)))
                print(f"{number} requests, {sum(self.looks[-1][1].values()):.0f} MB", file=sys.stderr)

        attack()

    def growth(self) -> float:
        """Memory at the end, over that after the warm-up."""
        first, last = (sum(each.values()) for _, each in (self.looks[0], self.looks[-1]))
        return last / first


def page(fuzzing: Fuzzing, count: int, chosen: int, seconds: float) -> str:
    """The result as Markdown."""
    findings = +fuzzing.tally.findings
    answers = ", ".join(f"{number} {name}" for name, number in fuzzing.tally.answers.most_common())
    lines = [
        f"{count} hostile requests (seed {chosen}) in {seconds:.0f} s. {machine()}. "
        f"**{', '.join(f'{number} {kind}' for kind, number in findings.items()) or 'Nothing found'}; "
        f"memory x {fuzzing.growth():.3f}.**",
        "",
        f"Answers: {answers}.",
        "",
        "| megabytes after | " + " | ".join(str(number) for number, _ in fuzzing.looks) + " |",
        "|---" * (len(fuzzing.looks) + 1) + "|",
    ]
    names = sorted({name for _, look in fuzzing.looks for name in look})
    lines += [
        f"| {name} | " + " | ".join(f"{look.get(name, 0):.0f}" for _, look in fuzzing.looks) + " |" for name in names
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("build/fuzz"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    started = time.monotonic()
    options.results.mkdir(parents=True, exist_ok=True)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with start(ServerOptions(REPOSITORY, config=quickest_config(), log_path=LOG)) as server:
        fuzzing = Fuzzing(server)
        fuzzing.run(options.requests, options.seed)
    text = page(fuzzing, options.requests, options.seed, time.monotonic() - started)
    (options.results / "fuzz.md").write_text(text + "\n")
    document = {"growth": fuzzing.growth(), "looks": fuzzing.looks, **vars(fuzzing.tally)}
    (options.results / "fuzz.json").write_text(json.dumps(document, indent=1) + "\n")
    print(text)
    return int(bool(+fuzzing.tally.findings) or fuzzing.growth() > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
