"""A load test of a running Recast server with Locust, through Recast's own client.

    locust -f benchmarks/locustfile.py --host localhost:8001            # then open Locust's page
    locust -f benchmarks/locustfile.py --host localhost:8001 --headless --users 8 --run-time 60s

A closed loop: each user sends an edit when the last one is answered. With --arrivals RATE an open one: edits
arrive at random, RATE a second (a Poisson process), whatever the server does; a closed loop hides how long
callers would queue. One process or many (--master, --worker). The rows "parse", "mask" and "inpaint" are the times
of the steps as the server reports them. `python -m benchmarks.load` does it all with a server of its own.
"""

from __future__ import annotations

import io
import random
import time
from dataclasses import dataclass

import gevent
import grpc.experimental.gevent
from locust import User, constant, events, task
from PIL import Image
from recast import Client
from recast.errors import RecastError

from export.demo import world

grpc.experimental.gevent.init_gevent()  # without it one waiting call stops every user

PICTURES = 24
SIZES = (320, 512, 768)
REPEATED = 0.3
"""Share of edits that repeat an earlier one word for word, as customers do who press the button again."""


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
    parser.add_argument("--steps", default="8,20", help="denoising steps to mix (default: %(default)s)")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds an edit may take (default: %(default)s)")


class Editor(User):
    """Edits held-out scenes of several sizes, each with a thing that is alone of its kind."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.rng = random.Random()
        self.known: list[Request] = []
        self.recast = Client(self.host or "localhost:8001", retries=0, timeout=self.options.deadline)

    def on_stop(self) -> None:
        self.recast.close()

    @property
    def options(self):
        return self.environment.parsed_options

    @task
    def edit(self) -> None:
        if not self.options.arrivals:
            self.ask(self.request())
            return
        users = max(1, self.environment.runner.target_user_count)
        gevent.sleep(self.rng.expovariate(self.options.arrivals / users))
        gevent.spawn(self.ask, self.request())

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
        started, size = time.perf_counter(), 0
        failure = None
        try:
            edit = self.recast.replace(
                request.image,
                request.prompt,
                seed=request.seed,
                num_inference_steps=request.num_inference_steps,
            )
            size = len(edit.pngs[0])
            for step, milliseconds in edit.report["milliseconds"].items():
                self.tell("step", step, milliseconds)
        except RecastError as error:
            failure = Failure(error.name)
        self.tell("edit", "replace", (time.perf_counter() - started) * 1e3, size, failure)

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
