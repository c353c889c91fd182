"""The two distributions, built as wheels: they hold every module of the tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("project", "packages"),
    [(".", ("serving", "export", "benchmarks")), ("client", ("recast",))],
    ids=["server", "client"],
)
def test_a_wheel_holds_the_modules_of_the_tree(project, packages, tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "weights", "results")
    for package in packages:
        shutil.copytree(ROOT / project / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / project / name).exists():
            shutil.copy(ROOT / project / name, source)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        ".",
    ]
    subprocess.run(wheel, cwd=source, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(built).namelist()
    held = {name for name in names if name.endswith(".py")}
    tree = {str(file.relative_to(source)) for package in packages for file in (source / package).rglob("*.py")}
    assert held == tree
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert (ROOT / project / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
