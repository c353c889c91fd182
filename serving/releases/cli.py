"""`recast releases`: what an operator does to a server whose model repository is on this machine.

A plug-in of the command `recast`, which finds `add_commands` by its entry point; this module knows nothing of recast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from serving.releases.control import Control
from serving.releases.deploy import Releases, Step
from serving.releases.errors import NotPossible, ReleaseError
from serving.releases.repository import Release, on_disk
from serving.topology import STEPS

REPOSITORY = Path("model_repository")
WORDS = {
    "list": "which releases are in force, since when, and which there are",
    "deploy": "verify a release, load it beside the one in force, try it, then put it in force",
    "promote": "put a canary in force for all requests",
    "rollback": "take a canary back, or put the release before in force again",
    "verify": "check a release's files against its manifest",
}


class Client(Protocol):
    """What a command gets of recast's client."""

    @property
    def control(self) -> Control: ...


@dataclass(frozen=True)
class Outcome:
    """What recast prints of a command: `document` with --json, else `lines` and the warnings `notes`."""

    document: dict[str, Any]
    lines: list[str]
    notes: list[str] = field(default_factory=list)
    exit_code: int = 0


def add_commands(parsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `releases` and what it can do to the command's `parsers`.

    Each has the defaults `run(arguments, client)`, which gives an Outcome, and `errors`, the classes of what it raises.
    """
    about = "swap releases of a running server, whose model repository is on this machine; alone: list"
    whole, shared = _shared(common, REPOSITORY), _shared(common, argparse.SUPPRESS)
    releases = parsers.add_parser("releases", help=about, description=about, parents=[whole], allow_abbrev=False)
    releases.set_defaults(run=show, errors=(ReleaseError,))
    actions = releases.add_subparsers(metavar="ACTION")
    for name, run in _ACTIONS.items():
        words = WORDS[name]
        action = actions.add_parser(name, help=words, description=words, parents=[shared], allow_abbrev=False)
        action.set_defaults(run=run)
        if name in ("deploy", "verify"):
            action.add_argument("number", type=int, metavar="N", help="the release")
        if name != "list":
            words = "this step alone; may be given again (default: all that it can concern)"
            action.add_argument("--step", choices=STEPS, action="append", default=[], help=words)
        if name == "deploy":
            action.add_argument("--share", type=_share, metavar="5%", help="of requests that it answers, as a canary")


def _shared(common: argparse.ArgumentParser, repository: Any) -> argparse.ArgumentParser:
    """The options of `releases` and of each action, which has no defaults, so that what stands before it holds."""
    shared = argparse.ArgumentParser(add_help=False, parents=[common])
    meaning = f"the folder that the server serves ({REPOSITORY})"
    shared.add_argument("--model-repository", type=Path, default=repository, metavar="FOLDER", help=meaning)
    return shared


def show(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast releases list`."""
    steps = _releases(arguments, client).steps()
    return Outcome({"steps": [_document(step) for step in steps]}, [_line(step) for step in steps])


def deploy(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast releases deploy`."""
    done = _releases(arguments, client).deploy(arguments.number, arguments.step, arguments.share)
    return Outcome({"release": arguments.number, "steps": done, "share": arguments.share}, [])


def promote(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast releases promote`."""
    return Outcome({"steps": _releases(arguments, client).promote(arguments.step)}, [])


def rollback(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast releases rollback`."""
    return Outcome({"steps": _releases(arguments, client).rollback(arguments.step)}, [])


def verify(arguments: argparse.Namespace, client: Client) -> Outcome:
    """`recast releases verify`."""
    repository, number = arguments.model_repository, arguments.number
    steps = arguments.step or [step for step in STEPS if number in on_disk(repository, step)]
    if not steps:
        raise NotPossible(f"{repository} has no release {number}.")
    sizes = {step: Release(repository, step, number).verify() for step in steps}
    lines = [f"{step}: release {number} is as exported ({size / 1e6:.1f} MB)" for step, size in sizes.items()]
    return Outcome({"release": number, "bytes": sizes}, lines)


_ACTIONS: dict[str, Callable[[argparse.Namespace, Client], Outcome]] = {
    "list": show,
    "deploy": deploy,
    "promote": promote,
    "rollback": rollback,
    "verify": verify,
}


def _releases(arguments: argparse.Namespace, client: Client) -> Releases:
    def tell(line: str) -> None:
        print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    return Releases(arguments.model_repository, client.control, tell)


def _share(text: str) -> float:
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError("must be between 0% and 100%")
    return share


def _document(step: Step) -> dict[str, Any]:
    entry = step.entry
    return {
        "step": step.name,
        "in_force": entry.release,
        "since": entry.since or None,
        "canary": entry.canary,
        "share": entry.share if entry.canary else None,
        "loaded": list(step.loaded),
        "on_disk": list(step.on_disk),
    }


def _line(step: Step) -> str:
    entry = step.entry
    parts = [f"release {entry.release} in force since {entry.since or 'the server started'}"]
    if entry.canary:
        parts = [f"release {entry.release} in force, {entry.canary} answers {entry.share:.1%} since {entry.since}"]
    parts.append(f"loaded {_numbers(step.loaded)}")
    parts.append(f"on disk {_numbers(step.on_disk)}")
    return f"{step.name + ':':<12}{'; '.join(parts)}"


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
