"""A load test of a running Recast server with Locust, through Recast's own client.

    locust -f benchmarks/locustfile.py --host localhost:8001            # then open Locust's page
    locust -f benchmarks/locustfile.py --host localhost:8001 --headless --users 8 --run-time 60s

A closed loop: each user sends an edit when the last one is answered. With --arrivals RATE an open one: edits
arrive at random, RATE a second from all --users together (a Poisson process), whatever the server does; a closed
loop hides how long callers would queue. With --shape ramp or spike the users come and go during --run-time, and in
an open loop the rate with them. An edit that there is no place for is asked for again until --deadline, as callers
do; --retries 0 counts each refusal as a failure. One process or many (--processes, or --master and --worker, which
takes its options from the master). --stop-timeout 10 lets the last edits be answered. The rows "parse", "mask" and
"inpaint" are the times of the steps as the server reports them. `python -m benchmarks.load` does it all with a server
of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
import grpc.experimental.gevent
from gevent.pool import Group
from locust import LoadTestShape, User, events, task
from locust.runners import WorkerRunner
from PIL import Image
from recast import Client
from recast.errors import RecastError

from export.demo import world

grpc.experimental.gevent.init_gevent()  # without it one waiting call stops every user

PICTURES = 24
SIZES = (320, 512, 768)
REPEATED = 0.3
"""Share of edits that repeat an earlier one word for word, as customers do who press the button again."""
STAIRS = 5
SHAPES: dict[str, Callable[[float], float]] = {
    "ramp": lambda passed: (int(passed * STAIRS) + 1) / STAIRS,
    "spike": lambda passed: 1.0 if 0.4 <= passed < 0.6 else 0.2,
}
"""Share of the users that is there when 0 ≤ `passed` < 1 of the run has passed."""


@dataclass(frozen=True)
class Request:
    """One edit; `image` is a PNG file."""

    image: bytes
    prompt: str
    seed: int
    num_inference_steps: int


class Failure(Exception):
    """A failed edit under its error's name, for Locust to count: messages differ with every picture."""


@events.init_command_line_parser.add_listener
def options(parser) -> None:
    parser.add_argument("--arrivals", type=float, default=0.0, help="edits a second of an open loop (default: closed)")
    parser.add_argument(
        "--shape",
        choices=["none", *SHAPES],
        default="none",
        help="users over --run-time: up in stairs, or a spike",
        include_in_web_ui=False,
    )
    parser.add_argument("--steps", default="8,20", help="denoising steps to mix (default: %(default)s)")
    parser.add_argument(
        "--edits", metavar="FILE", help="write a line of JSON for each edit: when, how long, of which release"
    )
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds an edit may take (default: %(default)s)")
    parser.add_argument("--retries", type=int, default=100, help="of a refused edit (default: %(default)s)")


@events.init.add_listener
def shape(environment, **_) -> None:
    # gevent's clock stood still while this file drew its pictures, and --run-time would count those seconds.
    gevent.get_hub().loop.update_now()
    if environment.parsed_options.shape != "none":
        environment.shape_class = Shape(environment.parsed_options)
        environment.shape_class.runner = environment.runner


@events.test_start.add_listener
def share_arrivals(environment, **_) -> None:
    """The rate of one user. A worker gets it from the master: it knows its own users only."""
    options = environment.parsed_options
    if not isinstance(environment.runner, WorkerRunner):
        options.arrivals_a_user = options.arrivals / max(1, options.num_users or 1)


class Shape(LoadTestShape):
    """The users that --shape asks for. Abstract, so that Locust does not take it without being asked."""

    abstract = True
    use_common_options = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self.options = options

    def tick(self) -> tuple[int, float] | None:
        users = self.options.num_users or 1
        passed = self.get_run_time() / (self.options.run_time or 300)
        return (max(1, round(users * SHAPES[self.options.shape](passed))), users) if passed < 1 else None


class Editor(User):
    """Edits held-out scenes of several sizes, each with a thing that is alone of its kind."""

    def on_start(self) -> None:
        self.rng = random.Random()
        self.known: list[Request] = []
        self.asked = Group()
        self.recast = Client(self.host or "localhost:8001", retries=self.options.retries, timeout=self.options.deadline)
        gevent.sleep(self.wait_time())

    def on_stop(self) -> None:
        self.asked.join(timeout=self.environment.stop_timeout)
        self.asked.kill()
        # Freed, not closed: tritonclient closes again when it is freed, gRPC counts a channel less each time, and with
        # a wrong count its gevent loop ends under other users' calls, or hangs as the process ends.
        del self.recast

    def wait_time(self) -> float:
        rate = self.options.arrivals_a_user
        return self.rng.expovariate(rate) if rate else 0.0

    @property
    def options(self):
        return self.environment.parsed_options

    @task
    def edit(self) -> None:
        if self.options.arrivals_a_user:
            self.asked.spawn(self.ask, self.request())
        else:
            self.ask(self.request())

    def request(self) -> Request:
        if self.known and self.rng.random() < REPEATED:
            return self.rng.choice(self.known)
        image, kind = self.rng.choice(PICTURE_FILES)
        wanted = self.rng.choice([other for other in world.KINDS if other != kind])
        article = "an" if wanted[0] in "aeiou" else "a"
        prompt = self.rng.choice(
            (f"Replace the {kind} with {article} {wanted}", f"remove the {kind}", f"make the {kind} blue")
        )
        steps = self.rng.choice([int(number) for number in self.options.steps.split(",")])
        self.known = [*self.known[-9:], Request(image, prompt, self.rng.randrange(2**32), steps)]
        return self.known[-1]

    def ask(self, request: Request) -> None:
        started, size, releases = time.perf_counter(), 0, None
        failure = None
        try:
            edit = self.recast.replace(
                request.image,
                request.prompt,
                seed=request.seed,
                num_inference_steps=request.num_inference_steps,
            )
            size, releases = len(edit.pngs[0]), edit.report["releases"]
            for step, milliseconds in edit.report["milliseconds"].items():
                self.tell("step", step, milliseconds)
        except RecastError as error:
            failure = Failure(error.name)
        seconds = time.perf_counter() - started
        self.tell("edit", "replace", seconds * 1e3, size, failure)
        if self.options.edits:
            why = failure and str(failure)
            line = {"began": time.time() - seconds, "seconds": seconds, "releases": releases, "error": why}
            with open(self.options.edits, "a") as file:
                file.write(json.dumps(line) + "\n")

    def tell(self, kind: str, name: str, milliseconds: float, size: int = 0, failure: Failure | None = None) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=milliseconds,
            response_length=size,
            exception=failure,
            context={},
        )


def pictures() -> list[tuple[bytes, str]]:
    """PNG files of held-out scenes in `SIZES`, and a thing in each that is alone of its kind and not tiny."""
    found: list[tuple[bytes, str]] = []
    seed = world.HELD_OUT
    while len(found) < PICTURES:
        scene, seed = world.scene(seed), seed + 1
        kinds = [thing.kind for thing in scene.things if thing.mask.sum() > 1000 * 255]
        alone = [kind for kind in kinds if sum(thing.kind == kind for thing in scene.things) == 1]
        if alone:
            picture, file = Image.fromarray(scene.image), io.BytesIO()
            longest = SIZES[len(found) % len(SIZES)]
            scale = longest / max(picture.size)
            picture.resize((round(picture.width * scale), round(picture.height * scale))).save(file, "PNG")
            found.append((file.getvalue(), alone[0]))
    return found


PICTURE_FILES = pictures()
