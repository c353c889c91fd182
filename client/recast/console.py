"""Results in a few friendly lines, and the moving line that shows a call is under way."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from .intents import described
from .results import Edit, MaskResult, ParseResult, Progress, Status

BAR = 20
"""Characters of a full progress bar."""
DOUBTFUL = 0.5
"""Below this edit score the server itself would try again."""


def edit_lines(edit: Edit, seconds: float) -> list[str]:
    """What was understood and found, the seed, and the time of each step; `seconds` is the whole call's."""
    seeds = ", ".join(str(seed) for seed in edit.seeds)
    return [
        _line("Understood", f"{_understood(edit)} (score {edit.parse_score:.2f})"),
        _line("Found", f"{edit.target} (score {edit.mask_score:.2f})"),
        _line("Done", _done(edit)),
        _line("Seeds" if len(edit.seeds) > 1 else "Seed", f"{seeds} (--seed {edit.seed} repeats it)"),
        _line("Time", _times(edit.report, seconds)),
    ]


def doubts(edit: Edit) -> list[str]:
    """What the person should know of an edit that the server itself doubts."""
    if edit.edit_score is None or edit.edit_score >= DOUBTFUL:
        return []
    tries = f"{edit.attempts} tries" if edit.attempts > 1 else "1 try"
    which = "it" if len(edit.pngs) == 1 else "one of them"
    return [
        f"done, but {which} may not be right: {_understood(edit)} (score {edit.edit_score:.2f} after {tries}); try "
        "another --seed."
    ]


def parse_lines(result: ParseResult, seconds: float) -> list[str]:
    """What was understood, what will be drawn, and the time."""
    return [
        _line("Understood", f"{_understood(result)} (score {result.parse_score:.2f})"),
        _line("Draws", result.caption),
        _line("Time", _times(result.report, seconds)),
    ]


def mask_lines(target: str, result: MaskResult, seconds: float) -> list[str]:
    """What was found, and the time."""
    return [
        _line("Found", f"{target} (score {result.mask_score:.2f})"),
        _line("Time", _times(result.report, seconds)),
    ]


def status_lines(status: Status, url: str) -> list[str]:
    """The server and its steps, one a line."""
    lines = [_line("Server", f"{status.server} at {url}: {'ready' if status.ready else 'not ready'}")]
    for name, step in status.steps.items():
        releases = ", ".join(str(release) for release in step.releases)
        lines.append(_line(name, f"ready, release {releases}" if step.ready else "not ready"))
    return lines


def saved_line(paths: list[str]) -> str:
    """The files that were written."""
    return _line("Saved", ", ".join(paths))


@dataclass
class Line:
    """The line on the terminal: what is done, and how far it is."""

    doing: str
    bar: str = ""
    steps: int = 0
    """The denoising steps of one attempt, as soon as they are known."""

    def show(self, progress: Progress) -> None:
        """Say on the line that a step is done, and how far the painting is: the bar starts anew with each attempt."""
        done = {"parse": "sentence read", "mask": "object found"}
        painted, state = 0.0, done.get(progress.stage, "")
        if not state:
            self.steps = self.steps or progress.steps
            step = progress.step - (progress.steps - self.steps)
            again = "it went wrong, trying again: " if progress.steps > self.steps else ""
            painted, state = step / self.steps, f"{again}step {step} of {self.steps}"
        self.bar = f"[{'#' * round(BAR * painted):<{BAR}}] {state}  "


@contextmanager
def progress(doing: str) -> Iterator[Line]:
    """While the block runs, a line on the terminal with the seconds so far; nothing when stderr is none."""
    line = Line(doing)
    if not sys.stderr.isatty():
        yield line
        return
    done = threading.Event()
    ticking = threading.Thread(target=_tick, args=(line, done), daemon=True)
    ticking.start()
    try:
        yield line
    finally:
        done.set()
        ticking.join()


def _tick(line: Line, done: threading.Event) -> None:
    start, width = time.monotonic(), max(20, shutil.get_terminal_size().columns - 1)
    with suppress(OSError):  # the terminal has gone; the work goes on
        for sign in cycle("|/-\\"):
            text = f"{sign} {time.monotonic() - start:.1f} s  {line.bar}{line.doing}"
            sys.stderr.write("\r" + text[:width].ljust(width))
            sys.stderr.flush()
            if done.wait(0.1):
                break
        sys.stderr.write("\r" + " " * width + "\r")
        sys.stderr.flush()


def _understood(result: Edit | ParseResult) -> str:
    return described(result.intent, result.target, result.replacement)


def _done(edit: Edit) -> str:
    score = "the server could not look" if edit.edit_score is None else f"score {edit.edit_score:.2f}"
    return f"{score}, {edit.attempts} tries" if edit.attempts > 1 else score


def _times(report: dict[str, Any], seconds: float) -> str:
    steps = [f"{name} {spent / 1000:.2f} s" for name, spent in report.get("milliseconds", {}).items()]
    return ", ".join([*steps, f"in all {seconds:.2f} s"])


def _line(label: str, text: str) -> str:
    return f"{label + ':':<12}{text}"
