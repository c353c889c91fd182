"""Reads docker/ and .dockerignore as an engine would, as far as our own files need it."""

import ast
import fnmatch
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


def instructions(kind: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) of an image's Dockerfile, comments dropped and lines joined."""
    text = (DOCKER / f"Dockerfile.{kind}").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def the(kind: str, wanted: str) -> str:
    """The arguments of the one instruction `wanted`."""
    found = [rest for word, rest in instructions(kind) if word == wanted]
    assert len(found) == 1, (wanted, found)
    return found[0]


def runs(kind: str) -> str:
    return "\n".join(rest for word, rest in instructions(kind) if word == "RUN")


def variables(kind: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in instructions(kind) if word == "ENV" for pair in shlex.split(rest))


def health(kind: str) -> tuple[dict[str, str], str]:
    """The options of the health check, and its shell command."""
    options, _, command = the(kind, "HEALTHCHECK").partition(" CMD ")
    return dict(option.removeprefix("--").split("=") for option in options.split()), command


def seconds(text: str) -> int:
    assert re.fullmatch(r"\d+s", text), text
    return int(text[:-1])


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` from the engine: the last pattern that fits it or a parent decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        names = parts if "**/" in line else ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            verdict = not line.startswith("!")
    return verdict


def imported(programs: list[Path]) -> set[str]:
    """Top-level names of everything that the programs import, through our own modules."""
    names, seen, waiting = set(), set(), list(programs)
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            names |= {module.split(".")[0] for module in modules}
            waiting += [ROOT / f"{module.replace('.', '/')}.py" for module in modules]
    assert len(seen) > len(programs)
    return names
