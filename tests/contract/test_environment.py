"""One table of environment variables: what the tree reads is in it, and it holds nothing else."""

import ast
import re
from pathlib import Path

import pytest

from serving.environment import CLIENT, COMPOSE, HAPROXY, LAUNCHER, MODELS, VARIABLES

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(?:RECAST_[A-Z0-9_]+|TRITONSERVER_HOME|TRITON_IMAGE|PIP_EXTRA_INDEX_URL|TRACEPARENT)\b")
TABLE = ROOT / "serving" / "environment.py"
FILES = {
    LAUNCHER: ["serving/**/*.py"],
    MODELS: ["serving/**/*.py"],
    CLIENT: ["client/recast/**/*.py"],
    COMPOSE: ["docker/compose.yaml", "docker/Dockerfile.*"],
    HAPROXY: ["docker/haproxy/*"],
}
"""Where each reader's names stand."""
ELSEWHERE = ["benchmarks/**/*.py", "export/**/*.py", "docker/kubernetes/**/*", "**/*.md", "Makefile"]


def files(*patterns):
    found = (path for pattern in patterns for path in ROOT.glob(pattern))
    # A tree in use holds more than its own files: environments, builds, releases.
    return [path for path in found if path.is_file() and not {".venv", "build", ".git"} & set(path.parts)]


def names(paths):
    return {name for path in paths for name in NAME.findall(path.read_text())}


def table(*readers):
    return {variable.name for variable in VARIABLES if not readers or variable.reader in readers}


@pytest.mark.parametrize("reader", [CLIENT, COMPOSE, HAPROXY])
def test_what_a_reader_names_is_in_the_table_and_the_reverse(reader):
    named = names(files(*FILES[reader]))
    prefixes = {name for name in named if name.endswith("_") and any(known.startswith(name) for known in table(reader))}
    handed_on = table(LAUNCHER) if reader == COMPOSE else set()  # an image sets what its launcher reads
    assert named - prefixes - (handed_on - table(reader)) == table(reader)


def test_the_servers_code_goes_by_the_tables_names():
    """No file of serving/ spells one: each takes it from serving.environment, and all of those are taken."""
    taken = set()
    for path in files("serving/**/*.py"):
        if path == TABLE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not NAME.fullmatch(node.value), f"{path.name}:{node.lineno} spells {node.value}"
            if isinstance(node, ast.Attribute | ast.Name):
                taken.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    constants = [node for node in ast.parse(TABLE.read_text()).body if isinstance(node, ast.Assign)]
    spelled = {node.targets[0].id: node.value.value for node in constants if isinstance(node.value, ast.Constant)}
    assert set(spelled.values()) == table(LAUNCHER, MODELS)
    assert set(spelled) <= taken


def test_names_elsewhere_are_in_the_table():
    strangers = names(files(*ELSEWHERE)) - table()
    assert not {name for name in strangers if not name.endswith("_")}


def test_the_table_tells_each_readers_variable_once():
    rows = [(variable.name, variable.reader) for variable in VARIABLES]
    assert len(rows) == len(set(rows))
    assert {variable.reader for variable in VARIABLES} == set(FILES)
    assert all(variable.meaning and variable.absent for variable in VARIABLES)


def test_operators_read_of_every_variable_that_they_can_set():
    """docker/README.md has them in backticks; the client's are in client/README.md."""
    readme = ROOT / "docker" / "README.md"
    if readme.exists():
        told = set(re.findall(r"`(\w+)(?:=[^`]*)?`", readme.read_text()))
        assert table(LAUNCHER, COMPOSE, HAPROXY) <= told
