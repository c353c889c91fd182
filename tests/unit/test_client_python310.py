"""The client runs on the oldest Python that its distribution names, which the server's environment is not."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"

# No environment of that Python is at hand, so its third-party packages are empty; Python's own modules are real.
SCRIPT = """
import pkgutil
import sys
from unittest.mock import MagicMock

for name in ("grpc", "numpy", "PIL", "tritonclient", "tritonclient.grpc", "tritonclient.grpc.aio"):
    sys.modules[name] = MagicMock()
sys.modules["tritonclient.utils"] = MagicMock()
import recast
for module in pkgutil.iter_modules(recast.__path__, "recast."):
    if module.name != "recast.__main__":
        __import__(module.name)
sys.exit(sys.modules["recast.cli"].main(["edit", "--help"]))
"""


def oldest() -> str:
    declared = re.search(r'requires-python = ">=(3\.\d+)"', (CLIENT / "pyproject.toml").read_text())
    assert declared
    return declared[1]


def interpreter() -> tuple[str, dict[str, str]] | None:
    """The path of that Python and the environment to run it in; None where there is none."""
    path = shutil.which(f"python{oldest()}")
    environment = {**os.environ, "PYTHONPATH": str(CLIENT), "PYENV_VERSION": oldest()}  # pyenv's needs to be told
    if path is None or subprocess.run([path, "-c", ""], env=environment, capture_output=True).returncode:
        return None
    return path, environment


def test_every_module_loads_and_the_command_starts(tmp_path):
    found = interpreter()
    if found is None:
        pytest.skip(f"there is no Python {oldest()} here")
    path, environment = found
    # Elsewhere: what the server's setup left in the checkout would bring that Python the server's plug-in.
    done = subprocess.run([path, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--num-images" in done.stdout


def test_ruff_and_mypy_check_the_client_as_that_python():
    settings = (CLIENT / "pyproject.toml").read_text()
    assert f'target-version = "py{oldest().replace(".", "")}"' in settings
    assert f'python_version = "{oldest()}"' in settings
