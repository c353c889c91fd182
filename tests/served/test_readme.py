"""The commands and Python snippets of all READMEs, run as they stand there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from recast import Client

from export.demo import world
from export.demo.__main__ import SCENE
from export.presets import PRESETS
from serving.topology import STEPS
from tests.exporting import empty_repository
from tests.readmes import ROOT, blocks, code, commands, run_by, table

SNIPPETS = blocks("python")
SERVER_BLOCKS = run_by("server")


def ids(found):
    return [f"{name}-{number}" for number, (name, _) in enumerate(found)]


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a checkout after `make demo`, as far as the commands care."""
    before = tmp_path / "build" / "demo" / "before.png"
    before.parent.mkdir(parents=True)
    Image.fromarray(world.scene(SCENE, (512, 384)).image).save(before)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a block whole, as typed into a shell that ends at the first failure."""
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """The description of the protocol, made by the README's own block."""
    place = tmp_path_factory.mktemp("protocol")
    (place / ".venv").symlink_to(sys.prefix)
    (block,) = [block for _, block in SERVER_BLOCKS if block.startswith(".venv/bin/python > kserve.protoset")]
    done = shell(block, place)
    assert done.returncode == 0, done.stderr
    return place / "kserve.protoset"


@pytest.mark.parametrize(("name", "block"), SERVER_BLOCKS, ids=ids(SERVER_BLOCKS))
def test_commands_for_a_server_run(server, folder, protocol, name, block):
    (folder / "model_repository").symlink_to(ROOT / "model_repository")
    if "-protoset" in block:
        (folder / "kserve.protoset").symlink_to(protocol)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "grpcurl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.served.grpcurl "$@"\n')
    (programs / "grpcurl").chmod(0o755)
    done = shell(
        block.replace("localhost:8001", server.grpc_url),
        folder,
        PATH=f"{programs}:{os.environ['PATH']}",
        RECAST_URL=server.grpc_url,
        RECAST_ADMIN_KEY=server.admin_key,
    )
    assert done.returncode == 0, done.stderr
    for written in folder.glob("*.png"):
        assert Image.open(written).size == (512, 384)


@pytest.mark.parametrize(("name", "snippet"), SNIPPETS, ids=ids(SNIPPETS))
def test_python_snippet_runs(server, folder, name, snippet):
    code = snippet.replace("localhost:8001", server.grpc_url)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(folder / "out.png").size == (512, 384)


@pytest.mark.slow
def test_commands_for_pytest_find_tests():
    for _, block in run_by("pytest"):
        for words in commands(block):
            collect = [sys.executable, *words[1:], "--collect-only", "-q", "-p", "no:cacheprovider"]
            done = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_exports_run(folder):
    repository = empty_repository(folder / "model_repository")
    for _, block in run_by("export"):
        done = shell(block, folder)
        assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in repository.glob("unet/*/model.onnx")} == {"2", "3", "4"}
    listed = shell(".venv/bin/python -m export --list", folder).stdout
    assert all(preset in listed for preset in PRESETS)


@pytest.mark.slow
def test_make_demo_runs():
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (ROOT / "build" / "demo").glob("*.png")} >= {"before.png", "mask.png", "after.png"}


@pytest.mark.slow
def test_the_load_test_runs():
    ((_, block),) = run_by("load")
    done = shell(block, ROOT)
    assert done.returncode == 0, done.stderr
    assert "UNet's batches" in done.stdout


def test_the_report_has_what_is_documented(server, folder):
    documented = {code(key)[0] for key, _ in table("model_repository/README.md", "key")}
    with Client(server.grpc_url) as client:
        report = client.replace(folder / "build/demo/before.png", "Replace the car with a bicycle").report
    assert set(report) == documented
    assert set(report["releases"]) == set(report["milliseconds"]) == set(STEPS)
    assert report["background_difference"] == 0
