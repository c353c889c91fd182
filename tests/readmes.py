"""The READMEs as the tests read them: their fenced blocks, their tables, the commands in their blocks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README.md"))]
READMES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)

# Which test runs an `sh` block: the first of these that is found in it.
RUN_BY = {
    "make ": "make",
    "-m pytest": "pytest",
    "-m export": "export",
    "-m benchmarks.load": "load",
    ".venv/bin/recast": "server",
    "kserve.protoset": "server",
    "request.json": "server",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Every block of that language ("" for those without), with the README that it stands in."""
    return [
        (name, block) for name, text in READMES.items() for found, block in _FENCED.findall(text) if found == language
    ]


def run_by(runner: str) -> list[tuple[str, str]]:
    """The `sh` blocks that this runner is to run."""
    return [(name, block) for name, block in blocks("sh") if runner_of(block) == runner]


def runner_of(block: str) -> str | None:
    return next((runner for words, runner in RUN_BY.items() if words in block), None)


def commands(block: str) -> list[list[str]]:
    """The words of each line of a block, lines that end in a backslash joined, comments left out."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Each table's last heading before it, and its rows of cells, the head first."""
    heading, rows = "", []
    for line in [*re.sub(_FENCED, "", text).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            yield heading, [row for row in rows if not re.fullmatch(r"-+", row[0])]
            rows = []
        if line.startswith("#"):
            heading = line.lstrip("# ")


def table(name: str, first: str) -> list[list[str]]:
    """The rows of README `name`'s one table whose first column is headed `first`."""
    (rows,) = [rows[1:] for _, rows in tables(READMES[name]) if rows[0][0] == first]
    return rows


def code(cell: str) -> list[str]:
    """What stands in backquotes in a cell."""
    return re.findall(r"`([^`]+)`", cell)
