"""The launcher: starts, reports, explains and stops the real tritonserver, leaving no process behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from benchmarks.second import own_repository
from serving.launcher import hidden_arguments
from serving.launcher.cli import configured, parse_arguments
from serving.launcher.preflight import LaunchError
from serving.launcher.security import ADMIN_HEADER, Tls
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.tritonserver import Triton, assemble
from tests.conftest import REPOSITORY
from tests.served.onnx_models import TALLY, tally, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path):
    write(tmp_path, "tally", TALLY, tally())
    return tmp_path


@pytest.fixture
def serve(repository):
    """Starts `python -m serving` on the repository and waits for its ready line."""
    started = []

    def start(*options):
        ports = ["--grpc-port=0", "--http-port=0", "--metrics-port=0"]
        command = [sys.executable, "-m", "serving", f"--model-repository={repository}", "--ready-model=tally"]
        process = subprocess.Popen(
            [*command, *ports, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline()

    yield start
    for process in started:
        process.kill()
        process.wait()


def processes(pid):
    """All descendants."""
    return psutil.Process(pid).children(recursive=True)


def alive(processes):
    """Those that still run; a zombie has ended."""
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def wait_until(what, seconds=30):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.1)
    return what()


def tritonserver(launcher):
    """Its process id."""
    return next(process.pid for process in processes(launcher.pid) if process.name() == "tritonserver")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def refused(options):
    """Start a server that must not start."""
    with start(options):
        pass


def test_server_is_ready_inside_the_with_block_and_gone_after_it(repository):
    with start(ServerOptions(repository, ready_model="tally")) as server:
        url = f"http://{server.http_url}/v2/models/tally/ready"
        assert urllib.request.urlopen(url).status == 200
        assert "nv_inference_count" in urllib.request.urlopen(f"http://{server.metrics_url}/metrics").read().decode()
        assert "successfully loaded 'tally'" in server.log_path.read_text()
        ours = [psutil.Process(server.pid), *processes(server.pid)]
        assert len(ours) > 1
        assert server.poll() is None
    assert not alive(ours)
    assert not (repository / "tally" / "1" / "__pycache__").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_with_status_0(serve, number):
    process, line = serve()
    assert line.startswith("recast: ready after")
    assert "'tally' on gRPC 127.0.0.1:" in line
    key = Path(re.search(r"admin key in (\S+)", line)[1])
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_text()) >= 16
    ours = processes(process.pid)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not alive(ours)
    assert not key.exists()


def test_a_killed_launcher_takes_the_server_along(serve):
    process, _ = serve()
    ours = processes(process.pid)
    process.kill()
    assert wait_until(lambda: not alive(ours))


def test_a_killed_server_is_started_again_until_it_cannot(serve, repository):
    process, line = serve()
    url = f"http://{line.split('HTTP ')[1].split(',')[0]}/v2/models/tally/ready"
    os.kill(tritonserver(process), signal.SIGKILL)
    assert wait_until(lambda: answers(url))
    (repository / "tally" / "config.pbtxt").write_text("none")
    os.kill(tritonserver(process), signal.SIGKILL)
    assert process.wait(60) == 1
    assert not answers(url)


def test_a_taken_port_is_named_with_the_option_that_changes_it(repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port} cannot be used .*--http-port"):
            refused(ServerOptions(repository, ready_model="tally", http_port=port))


def test_a_repository_without_releases_says_run_make_export(repository):
    (repository / "unet").mkdir()
    (repository / "unet" / "config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(LaunchError, match="no release of unet: run `make export`"):
        refused(ServerOptions(repository, ready_model="tally"))


def test_an_absent_repository_or_ready_model_is_named(tmp_path, repository):
    with pytest.raises(LaunchError, match="holds no model"):
        refused(ServerOptions(tmp_path / "elsewhere"))
    with pytest.raises(LaunchError, match="no model 'replace' to wait for"):
        refused(ServerOptions(repository))


def test_a_model_that_fails_to_load_is_named_with_its_reason(repository):
    write(repository, "wrong", TALLY.replace("TYPE_FP32", "TYPE_FP16"), tally())
    with pytest.raises(LaunchError) as error:
        refused(ServerOptions(repository, ready_model="tally"))
    assert "'wrong' version 1 failed to load" in str(error.value)
    assert "input 'x' is FP32 [-1, -1] in the model and FP16 [-1, -1] in the config" in str(error.value)
    assert "model.py" not in str(error.value)


def test_a_config_that_does_not_parse_is_named(repository):
    (repository / "typo" / "1").mkdir(parents=True)
    (repository / "typo" / "config.pbtxt").write_text('backend: "onnxruntime"\nmax_batchsize: 1\n')
    with pytest.raises(LaunchError, match=r"typo[\s\S]*no field named \"max_batchsize\""):
        refused(ServerOptions(repository, ready_model="tally"))


def test_a_damaged_release_is_named_before_anything_is_loaded(tmp_path):
    repository = own_repository(REPOSITORY, tmp_path / "model_repository")
    file = repository / "unet" / "1" / "model.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(LaunchError, match=r"release 1 of inpaint is damaged: unet/model.onnx has another SHA-256 .*"):
        refused(ServerOptions(repository))


def test_half_of_tls_and_absent_files_are_refused(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serving", "--tls-key=server.key"])
    with pytest.raises(LaunchError, match="--tls-certificate and --tls-key"):
        configured(parse_arguments())
    with pytest.raises(LaunchError, match=r"TLS cannot use .*absent\.pem .*: No such file"):
        refused(
            ServerOptions(repository, ready_model="tally", tls=Tls(tmp_path / "absent.pem", tmp_path / "absent.key"))
        )


def test_a_machine_that_forbids_tracing_is_warned_of(repository, monkeypatch):
    def forbid(*_, **__):
        raise PermissionError("this machine lets no process trace its own child")

    monkeypatch.setattr(hidden_arguments, "start", forbid)
    with start(ServerOptions(repository, ready_model="tally")) as server:
        assert "every user of this machine can read the admin key" in server.warnings[0]
        assert server.control.ready("tally")


def test_an_installed_tritonserver_serves_with_its_own_backends(repository, tmp_path_factory, monkeypatch):
    """As in NVIDIA's image: here the wheel's parts, laid out like an installation with an onnxruntime backend."""
    wheel, home = Triton.of_wheel(), tmp_path_factory.mktemp("tritonserver")
    assemble(home, wheel)
    (home / "bin").mkdir()
    (home / "bin" / "tritonserver").symlink_to(wheel.tritonserver)
    monkeypatch.setenv("TRITONSERVER_HOME", str(home))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{wheel.libraries}:{home / 'lib'}")
    with start(ServerOptions(repository, ready_model="tally")) as server:
        assert f"--backend-directory={home}/backends" in Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
        assert "successfully loaded 'tally'" in server.log_path.read_text()


def test_a_named_configuration_rules_where_a_model_has_it(repository, tmp_path):
    shutil.copytree(repository / "tally", repository / "plain")
    configs = repository / "tally" / "configs"
    configs.mkdir()
    text = (repository / "tally" / "config.pbtxt").read_text()
    (configs / "small.pbtxt").write_text(text.replace("max_batch_size: 8", "max_batch_size: 3"))
    with start(ServerOptions(repository, config="small", ready_model="tally")) as server:
        sizes = {}
        for name in ("tally", "plain"):
            url = f"http://{server.http_url}/v2/models/{name}/config"
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={ADMIN_HEADER: server.admin_key})
            ) as answer:
                sizes[name] = json.load(answer)["max_batch_size"]
    assert sizes == {"tally": 3, "plain": 8}
