"""Every command and the Python snippet of README.md, run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from export.__main__ import arguments
from export.presets import PRESETS, covering
from tests.exporting import empty_repository

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.split("  #")[0].strip() for language, block in BLOCKS if language == "sh" for line in block.splitlines()
]
SNIPPETS = [block for language, block in BLOCKS if language == "python"]


@pytest.fixture
def folder(street, tmp_path):
    """A folder with the picture that the README's commands name."""
    Image.fromarray(street[0].image).save(tmp_path / "street.png")
    return tmp_path


def as_asked(text: str) -> str:
    """The picture's car is of any colour and on any side: the command stays as it was but for those."""
    return text.replace("red car on the left", "car").replace("red car", "car")


@pytest.mark.parametrize("command", [c for c in COMMANDS if ".venv/bin/recast" in c])
def test_recast_command_runs(server, folder, command):
    words = shlex.split(as_asked(command).replace(".venv/bin/recast", f"{Path(sys.executable).parent}/recast"))
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "RECAST_URL": server.grpc_url}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_export_commands_run_in_their_order(tmp_path):
    repository = empty_repository(tmp_path / "model_repository")
    commands = [shlex.split(command) for command in COMMANDS if "-m export" in command]
    assert len(commands) >= 5
    for _, _, module, *words in commands:
        named = [PRESETS[name] for name in arguments().parse_args(words).preset or []] if module == "export" else []
        if "--checkpoint" not in words and any(
            not isinstance(source, Path) for preset in named for source in preset.checkpoints.values()
        ):  # from the hub
            covering(named)
            continue
        where = ["--repository", str(repository)] if named else []
        command = [sys.executable, "-m", module, *words, *where]
        done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in repository.glob("unet/*/model.onnx")} == {"1", "3"}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_snippet_runs(server, folder, snippet):
    code = as_asked(snippet).replace("localhost:8001", server.grpc_url)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.png").exists()


@pytest.mark.slow
def test_the_load_test_runs():
    (command,) = [shlex.split(command) for command in COMMANDS if "benchmarks.load" in command]
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "UNet's batches" in done.stdout


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", README, re.MULTILINE)) <= targets


def test_the_file_tree_is_true():
    tree = next(block for block in re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    for line in tree.splitlines():
        for name in re.findall(r"^ ?\s*((?:[\w.-]+/?\s)+?) {2,}", line):
            for path in name.split():
                indent = "model_repository" if path.rstrip("/") in os.listdir(ROOT / "model_repository") else "."
                nested = [ROOT / path, ROOT / indent / path, ROOT / "export" / path]
                assert any(place.exists() for place in nested), path
