"""Which tritonserver is run: the one that TRITONSERVER_HOME names, else the wheel's."""

import pytest

from serving.environment import TRITONSERVER_HOME
from serving.launcher.preflight import LaunchError
from serving.launcher.tritonserver import Triton, assemble, environment


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder laid out as /opt/tritonserver in NVIDIA's image, and named by the environment."""
    home = tmp_path / "tritonserver"
    for folder in ("bin", "backends/python", "backends/onnxruntime"):
        (home / folder).mkdir(parents=True)
    (home / "bin" / "tritonserver").touch()
    monkeypatch.setenv(TRITONSERVER_HOME, str(home))
    return home


def test_an_installed_tritonserver_is_run_with_the_backends_it_has(home, tmp_path):
    triton = Triton.find()
    assert triton.tritonserver == home / "bin" / "tritonserver"
    folder = tmp_path / "launch"
    folder.mkdir()
    assert assemble(folder, triton) == home / "backends"
    assert not list(folder.iterdir())


def test_an_installed_tritonserver_keeps_its_own_libraries(home, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/its/own")
    assert environment(tmp_path, Triton.find())["LD_LIBRARY_PATH"] == "/its/own"


@pytest.mark.parametrize("part", ["bin/tritonserver", "backends/python", "backends/onnxruntime"])
def test_an_installed_tritonserver_without_a_part_is_refused_by_its_name(home, part):
    (home / part).rename(home / "elsewhere")
    with pytest.raises(LaunchError, match=f"{TRITONSERVER_HOME} is .*/{part}: name a whole tritonserver"):
        Triton.find()


@pytest.mark.parametrize("value", [None, ""])
def test_the_wheel_is_run_when_none_is_named(tmp_path, monkeypatch, value):
    if value is None:
        monkeypatch.delenv(TRITONSERVER_HOME, raising=False)
    else:
        monkeypatch.setenv(TRITONSERVER_HOME, value)
    triton = Triton.find()
    backends = assemble(tmp_path, triton)
    assert "pytriton" in triton.tritonserver.parts
    assert backends == tmp_path / "backends"
    assert {backend.name for backend in backends.iterdir()} == {"python", "onnxruntime"}
    assert environment(tmp_path, triton)["LD_LIBRARY_PATH"].startswith(f"{triton.libraries}:{tmp_path / 'lib'}")
