"""A server on a model repository of its own, whose releases the tests swap and break."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from recast import Client, Credentials, RecastError

from benchmarks.second import own_repository
from serving.launcher.server import RunningServer, start
from serving.launcher.server_options import ServerOptions
from serving.releases.deploy import Releases
from serving.topology import STEPS
from tests.conftest import REPOSITORY
from tests.old_releases import make_all_old

PAUSE = 0.1


@dataclass
class Operated:
    """A server, an operator's way to its releases, and a client's."""

    server: RunningServer
    repository: Path
    client: Client
    releases: Releases
    picture: Image.Image
    sentence: str

    def in_force(self) -> dict[str, int]:
        return {step.name: step.entry.release for step in self.releases.steps()}

    def edit(self, seed=3, **options):
        return self.client.replace(self.picture, self.sentence, seed=seed, num_inference_steps=2, **options)

    def calls(self):
        return Calls(self)


@dataclass
class Calls:
    """Edits, one after the other for as long as the context is open, and whether the server said that it was ready."""

    operated: Operated
    edits: list = field(default_factory=list)
    """(monotonic seconds at the start, at the end, the edit)"""
    errors: list[RecastError] = field(default_factory=list)
    unready: int = 0

    def __enter__(self):
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self._thread.join()

    def _run(self):
        ended = False
        while not ended:
            started = time.monotonic()
            try:
                self.edits.append((started, self.operated.edit(), time.monotonic()))
            except RecastError as error:
                self.errors.append(error)
            self.unready += not self.operated.server.control.ready("replace")
            ended = self._ended.wait(PAUSE)


@pytest.fixture(scope="package")
def operated(street, tmp_path_factory):
    """Release 1 of everything, written by an earlier version and renewed by this server; a test leaves it in force."""
    repository = own_repository(REPOSITORY, tmp_path_factory.mktemp("operated") / "model_repository")
    make_all_old(repository)
    scene, thing = street
    with start(ServerOptions(repository)) as server:
        credentials = Credentials(admin_key=server.admin_key)
        with Client(server.grpc_url, credentials=credentials, retries=0) as client:
            releases = Releases(repository, client.control, print)
            sentence = f"Replace the {thing.kind} with a boat"
            yield Operated(server, repository, client, releases, Image.fromarray(scene.image), sentence)


@pytest.fixture
def restored(operated):
    """`operated`, with release 1 in force before and after, and no other on disk."""
    yield operated
    while any(operated.in_force()[step] != 1 for step in STEPS):
        operated.releases.rollback([step for step in STEPS if operated.in_force()[step] != 1])
