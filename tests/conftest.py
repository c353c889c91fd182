"""The real tritonserver on the real repository, started once for all the tests that call it."""

from pathlib import Path

import pytest

from serving.launcher import Server

REPOSITORY = Path(__file__).parents[1] / "model_repository"


@pytest.fixture(scope="session")
def server():
    """The whole service on free ports; a repository without releases fails here and says what to run."""
    with Server(REPOSITORY) as running:
        yield running


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
