"""Which releases an operator put in force: releases.json in the model repository.

A server needs it for a canary's share alone; which release is in force it sees in its folders. The file tells what
the folders cannot: the release before, to go back to, and since when.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.releases.manifest import replace_file

NAME = "releases.json"


@dataclass(frozen=True)
class Entry:
    """One step's: the release in force, the one `before` it, and a `canary` that answers a `share` (0 … 1) of all.

    `since` is when a command last changed it, ISO 8601 in UTC.
    """

    release: int
    before: int | None = None
    canary: int | None = None
    share: float = 0.0
    since: str = ""


def read(repository: Path) -> dict[str, Entry]:
    """The entries by step; empty where nothing was ever deployed."""
    try:
        content = json.loads((repository / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {step: Entry(**entry) for step, entry in content.items()}


def write(repository: Path, step: str, entry: Entry) -> None:
    """Replace the step's entry, in one go for those who read."""
    content = {name: asdict(each) for name, each in {**read(repository), step: entry}.items()}
    replace_file(repository / NAME, (json.dumps(content, indent=2) + "\n").encode())
