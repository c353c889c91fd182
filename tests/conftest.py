"""The real tritonserver on the real repository, started once for all the tests that call it."""

import signal
from pathlib import Path

import pytest

from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions

REPOSITORY = Path(__file__).parents[1] / "model_repository"

# A test run in the background of a shell ignores SIGINT, and the processes that tests interrupt would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server():
    """The whole service on free ports; a repository without releases fails here and says what to run."""
    with start(ServerOptions(REPOSITORY)) as running:
        yield running


@pytest.fixture(scope="session")
def scenes(server):
    """Eight held-out scenes, each (picture, name of a thing in it that the server finds)."""
    from itertools import islice

    from PIL import Image
    from recast import Client

    from tests.served.pictures import understood

    with Client(server.grpc_url) as client:
        return [(Image.fromarray(scene.image), thing.kind) for scene, thing in islice(understood(client), 8)]


@pytest.fixture(scope="session")
def street(server):
    """A held-out scene with one car, and the car."""
    from recast import Client

    from tests.served.pictures import understood

    with Client(server.grpc_url) as client:
        return next(understood(client, "car"))


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory):
    """A folder with small random checkpoints of the classes that the real ones have: parse/, mask/ and inpaint/."""
    from tests import checkpoints  # torch and diffusers take seconds to import: not for tests without them

    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints.write(folder)
    return folder


@pytest.fixture(scope="session")
def exported(tiny_checkpoints, tmp_path_factory):
    """Release 1 of everything from the tiny checkpoints, made after an export that was killed half-way."""
    from tests.exporting import export_after_a_kill

    return export_after_a_kill(tiny_checkpoints, tmp_path_factory.mktemp("exported") / "model_repository")
