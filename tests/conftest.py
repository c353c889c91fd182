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
