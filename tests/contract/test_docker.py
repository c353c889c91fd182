"""The images and the compose file: what they say agrees with the launcher, the client and the configs.

Nothing is built here. Whether the images build and run, only a Docker engine can tell.
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml  # transformers brings it
from google.protobuf import text_format
from recast import cli
from recast.arguments import parser
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.environment import ADMIN_KEY, TRITONSERVER_HOME
from serving.launcher import cli as launcher_command
from serving.launcher.server_options import EXIT_TIMEOUT, READY_TIMEOUT
from tests.dockerfiles import DOCKER, ROOT, health, ignored, imported, instructions, runs, seconds, the, variables
from tests.readmes import READMES

README = READMES["docker/README.md"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
KINDS = ["cpu", "gpu"]
# What of the repository must never reach an engine, and what must.
PRIVATE = [
    ".git/config",
    ".venv/bin/python",
    "build/demo/train/model.safetensors",
    "model_repository/unet/1/model.onnx.data",
    "model_repository/parse/1/checkpoint/model.safetensors",
    "export/demo/weights/inpaint/unet/diffusion_pytorch_model.safetensors",
    "serving/launcher/__pycache__/server.cpython-311.pyc",
    "recast_server.egg-info/PKG-INFO",
    "client/recast_client.egg-info/PKG-INFO",
]
NEEDED = [
    "pyproject.toml",
    "LICENSE",
    "client/LICENSE",
    "serving/launcher/server.py",
    "serving/onnx_backend/model.py",
    "export/demo/world.py",
    "benchmarks/__init__.py",
    "client/pyproject.toml",
    "client/README.md",
    "client/recast/cli.py",
]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def options(kind, monkeypatch):
    """An image's command as the launcher's own parser reads it."""
    command = json.loads(the(kind, "CMD"))
    assert command[:3] == ["python3", "-m", "serving"]
    monkeypatch.setattr(sys, "argv", ["serving", *command[3:]])
    return launcher_command.parse_arguments()


def test_both_images_run_the_launcher_on_its_ports_with_the_mounted_models(kind, options):
    assert {"http": options.http_port, "grpc": options.grpc_port, "metrics": options.metrics_port} == PORTS
    assert options.host == "0.0.0.0"
    assert options.config == {"cpu": "auto", "gpu": "cuda"}[kind]
    assert [int(port) for port in the(kind, "EXPOSE").split()] == list(PORTS.values())
    (volume,) = SERVICES[kind]["volumes"]
    assert volume["target"] == str(options.model_repository)
    assert volume["read_only"] is True
    source = re.fullmatch(r"\$\{RECAST_MODELS:-(.*)\}", volume["source"])[1]
    assert (DOCKER / source).resolve() == ROOT / "model_repository"
    assert "ENTRYPOINT" not in dict(instructions(kind))
    assert not {"command", "entrypoint"} & set(SERVICES[kind])


def test_the_flags_are_the_launchers_own():
    """The GPU image names its tritonserver to the launcher; the CPU image leaves it the wheel's."""
    assert TRITONSERVER_HOME not in variables("cpu")
    assert variables("gpu")[TRITONSERVER_HOME] == "/opt/tritonserver"
    sources = "".join(runs(kind) + the(kind, "CMD") for kind in KINDS)
    assert not re.search(r"--(model-control-mode|load-model|backend-directory|cache-config)", sources)


def test_ports_are_open_to_this_machine_alone_unless_asked(kind):
    assert SERVICES[kind]["ports"] == [f"${{RECAST_ADDRESS:-127.0.0.1}}:{port}:{port}" for port in PORTS.values()]


def test_each_service_is_a_profile_that_builds_its_own_image(kind):
    service = SERVICES[kind]
    assert service["profiles"] == [kind]
    assert service["image"] == f"recast:{kind}"
    assert (DOCKER / service["build"]["context"]).resolve() == ROOT
    assert service["build"]["dockerfile"] == f"docker/Dockerfile.{kind}"
    declared = {rest.partition("=")[0] for word, rest in instructions(kind) if word == "ARG"}
    assert set(service["build"]["args"]) == declared
    assert set(SERVICES) == set(KINDS)


def test_only_the_gpu_service_reserves_a_gpu():
    (device,) = SERVICES["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert "gpu" in device["capabilities"]
    assert "deploy" not in SERVICES["cpu"]


def test_a_stopping_container_has_the_time_that_the_launcher_takes(kind):
    assert seconds(SERVICES[kind]["stop_grace_period"]) >= EXIT_TIMEOUT + 10
    assert SERVICES[kind]["restart"] == "unless-stopped"
    assert SERVICES[kind]["init"] is True


def test_shared_memory_holds_a_large_batch_for_every_python_instance(kind):
    """In the CPU image the networks too are Python models; a batch of eight 1024 x 1024 pictures is 96 MiB."""
    configs = [text_format.Parse(path.read_text(), ModelConfig()) for path in ROOT.glob("model_repository/*/*.pbtxt")]
    served = [config for config in configs if config.backend]
    instances = sum(group.count for config in served for group in config.instance_group)
    assert instances >= len(served) > 3
    gigabytes = re.fullmatch(r"(\d+)gb", SERVICES[kind]["shm_size"])[1]
    assert int(gigabytes) << 30 >= instances * (96 << 20)


def test_the_server_does_not_run_as_root(kind):
    words = [word for word, _ in instructions(kind)]
    assert the(kind, "USER") == "1000:1000"
    assert "RUN" not in words[words.index("USER") :]
    assert "no-new-privileges:true" in SERVICES[kind]["security_opt"]


def pinned(kind: str) -> list[str]:
    """What an image installs beside our own code: its Dockerfile's command, run on the real pyproject.toml."""
    command = re.search(r"python3 -c .*?(?= > /tmp/requirements)", runs(kind), re.DOTALL)[0]
    command = command.replace("python3", sys.executable).replace("/tmp/pyproject.toml", "pyproject.toml")
    return subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def test_an_image_installs_both_distributions_and_the_pins(kind):
    left_out = {"gpu": {"nvidia-pytriton", "onnxruntime-gpu", "openvino"}}
    kept = [line for line in PROJECT["dependencies"] if line.partition("==")[0] not in left_out.get(kind, ())]
    assert len(kept) > 10
    assert pinned(kind) == kept
    assert "pip install -r /tmp/requirements.txt" in runs(kind)
    assert "pip install --no-deps /tmp/source /tmp/source/client" in runs(kind)
    assert variables(kind)["PYTHONDONTWRITEBYTECODE"] == "1"


def test_what_the_gpu_image_leaves_out_no_step_imports():
    programs = [*ROOT.glob("model_repository/*/model.py"), ROOT / "serving/__main__.py"]
    names = imported(programs)
    assert "torch" in names
    assert not {"onnxruntime", "openvino", "pytriton"} & names


def test_the_images_pythons_are_supported():
    """Triton's Python backend runs the Python that its stub links: 3.12 in NVIDIA's images from 24.12 on."""
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    minor = re.fullmatch(r"python:3\.(\d+)-slim-bookworm", the("cpu", "FROM"))[1]
    assert f"python3.{minor}" in (ROOT / "Makefile").read_text()
    release = re.search(r"tag (\d\d)\.(\d\d)-py3", (DOCKER / "Dockerfile.gpu").read_text()).groups()
    assert tuple(map(int, release)) >= (24, 12)
    assert int(low) <= 12 < int(high)
    assert int(low) <= int(minor) < int(high)
    assert "-".join([".".join(release), "py3"]) in README


def test_no_file_names_a_registry():
    readmes = [ROOT / name for name in READMES]
    for path in [*DOCKER.glob("Dockerfile.*"), DOCKER / "compose.yaml", ROOT / ".dockerignore", *readmes]:
        assert not re.search(r"\b[\w-]+(\.[\w-]+)*\.(io|com|org|net|dev|ai)\b", path.read_text()), path.name


def test_the_gpu_image_needs_its_base_named_and_says_so():
    assert ("ARG", "TRITON_IMAGE") in instructions("gpu")
    # Dockerfile words end at a blank: the message has none.
    assert re.fullmatch(r"\$\{TRITON_IMAGE:\?[^\s}]+docker/Dockerfile\.gpu\}", the("gpu", "FROM"))
    assert SERVICES["gpu"]["build"]["args"]["TRITON_IMAGE"] == "${TRITON_IMAGE:-}"


def test_no_weights_and_nothing_private_reach_an_image(kind):
    assert [path for path in PRIVATE if not ignored(path)] == []
    assert [path for path in NEEDED if ignored(path)] == []
    assert "ADD" not in dict(instructions(kind))
    copied = [rest.split()[0] for word, rest in instructions(kind) if word == "COPY"]
    assert copied == ["docker/health.png"]
    assert (ROOT / copied[0]).stat().st_size < 10_000
    assert not ignored(copied[0])


def test_the_health_check_is_an_edit_that_the_client_knows(kind, monkeypatch):
    monkeypatch.delenv("RECAST_URL", raising=False)
    timing, command = health(kind)
    words = shlex.split(command)
    assert words[0] == "recast"
    assert words[words.index("||") :] == ["||", "test", "$?", "-eq", "3"]
    arguments = parser().parse_args(words[1 : words.index("||")])
    assert arguments.run is cli.commands.edit
    assert arguments.url == f"localhost:{PORTS['grpc']}"
    assert arguments.steps == 1
    (target,) = [rest.split()[1] for word, rest in instructions(kind) if word == "COPY"]
    assert arguments.picture == target
    assert Path(arguments.out).parent == Path("/tmp")
    assert arguments.timeout < seconds(timing["timeout"])
    assert {code for error, code in cli._CODES if error in (cli.ObjectNotFound, cli.NotAnEdit)} == {3}


def test_a_loading_server_is_not_unhealthy(kind):
    timing, _ = health(kind)
    patience = READY_TIMEOUT
    assert seconds(timing["start-period"]) >= patience
    assert health("cpu") == health("gpu")
    assert "healthcheck" not in SERVICES[kind]


def test_the_readmes_container_commands_exist():
    commands = re.findall(r"^docker (compose .*?)(?:  +#.*)?$", README, re.MULTILINE)
    profiles = {re.search(r"--profile (\w+)", command)[1] for command in commands}
    assert profiles == set(SERVICES)
    assert all("-f docker/compose.yaml" in command for command in commands)
    named = set(re.findall(r"^\| `(\w+)` \| compose", README, re.MULTILINE))
    assert named == set(re.findall(r"\$\{(\w+):-", (DOCKER / "compose.yaml").read_text())) - {ADMIN_KEY}
