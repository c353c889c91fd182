"""Releases go in and out of force while a server answers requests.

What is in force is written where Triton itself reads it: a server loads the two newest versions among a model's
folders, and calls of a step take the newest. So a release comes into force when its step's folder comes into place
and the step is loaded again, and leaves it the same way; a server that starts finds the same. Folders that shall not be
loaded stand aside. A release's networks are called by its own step alone, so they are loaded before and stay after.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from serving.releases import release_state
from serving.releases.control import LOAD_TIMEOUT, Control
from serving.releases.errors import NotPossible
from serving.releases.manifest import PROGRAM
from serving.releases.release_state import Entry
from serving.releases.renewal import renew, stale
from serving.releases.repository import INACTIVE, Release, exclusive, on_disk, placed
from serving.releases.smoke_test import smoke_test
from serving.topology import REPLACE_STREAM, STEPS

CALLED = (*STEPS, REPLACE_STREAM)
"""Models that callers reach; the others of a release are networks, called at its version alone."""


@dataclass(frozen=True)
class Step:
    """A step as `recast releases` shows it."""

    name: str
    entry: Entry
    loaded: tuple[int, ...]
    on_disk: tuple[int, ...]


class Releases:
    """Those of `repository`, which the server behind `control` serves. `tell` receives a line for each thing done."""

    def __init__(self, repository: Path, control: Control, tell: Callable[[str], None]) -> None:
        self.repository = repository
        self.control = control
        self.tell = tell

    def steps(self) -> list[Step]:
        return [
            Step(name, self._entry(name), self.control.loaded(name), tuple(on_disk(self.repository, name)))
            for name in STEPS
        ]

    def deploy(self, number: int, steps: Sequence[str], share: float | None = None) -> list[str]:
        """Put release `number` in force, or let it answer a `share` of requests; the steps that have it.

        All of them, when `steps` is empty. Nothing is changed for callers until every step's release has been verified,
        loaded beside the one in force and tried. BadRelease, and what `control` raises, say why one is refused.
        """
        with exclusive(self.repository):
            chosen = steps or [step for step in STEPS if number in on_disk(self.repository, step)]
            if not chosen:
                raise NotPossible(f"{self.repository} has no release {number}: export it first.")
            releases = [Release(self.repository, step, number) for step in chosen]
            for release in releases:
                self._check(release, share)
            for release in releases:
                self._prepare(release)
            since = _now()
            for release in releases:
                self._switch(release, share, since)
        return list(chosen)

    def promote(self, steps: Sequence[str]) -> list[str]:
        """Put the canary in force for all; the steps that had one."""
        with exclusive(self.repository):
            chosen = steps or [step for step in STEPS if self._entry(step).canary]
            if not chosen or any(self._entry(step).canary is None for step in chosen):
                raise NotPossible("there is no canary to promote: deploy one with --share.")
            since = _now()
            for step in chosen:
                old = self._entry(step)
                assert old.canary is not None
                release_state.write(self.repository, step, Entry(old.canary, before=old.release, since=since))
                self.tell(f"{step}: release {old.canary} is in force")
        return list(chosen)

    def rollback(self, steps: Sequence[str]) -> list[str]:
        """Take the canary back, or put the release before in force again; the steps that the last command changed."""
        with exclusive(self.repository):
            entries = {step: self._entry(step) for step in steps or STEPS}
            able = {step: entry for step, entry in entries.items() if entry.canary or entry.before}
            if not able or (steps and len(able) < len(steps)):
                raise NotPossible("there is no release to go back to.")
            last = max(entry.since for entry in able.values())
            chosen = [step for step, entry in able.items() if steps or entry.since == last]
            for step in chosen:
                self._back(step, able[step])
        return chosen

    def _check(self, release: Release, share: float | None) -> None:
        entry = self._entry(release.step)
        if entry.canary is not None:
            raise NotPossible(f"{release.step} has the canary {entry.canary}: promote it or roll it back first.")
        if release.number == entry.release:
            raise NotPossible(f"release {release.number} of {release.step} is in force already.")
        if share is not None and release.number < entry.release:
            raise NotPossible(f"a canary needs a higher number than {entry.release}, the release in force.")
        if entry.release not in on_disk(self.repository, release.step):
            raise NotPossible(
                f"the server has release {entry.release} of {release.step} in force and {self.repository} does not: "
                "name the repository that it serves with --model-repository."
            )
        size = release.verify()
        for model in () if release.number in self.control.loaded(release.step) else release.models:
            shutil.rmtree(release.folder(model) / "__pycache__", ignore_errors=True)
        self.tell(f"{release.step}: release {release.number} is as exported ({size / 1e6:.1f} MB)")

    def _prepare(self, release: Release) -> None:
        """Load the release's networks beside those in force, and try its step; undone when it fails."""
        self._renew(release)
        keep = {self._entry(release.step).release, release.number}
        entry_points, networks = _parted(release)
        for model in entry_points:
            loaded = self.control.loaded(model)
            self._set_aside(model, placed(self.repository, model) - {each for each in keep if each in loaded})
        try:
            for model in networks:
                self._set_aside(model, placed(self.repository, model) - keep)
                self._place(release, model)
                self._load(release, model)
            self.tell(f"{release.step}: networks of release {release.number} are loaded")
            for model in entry_points:
                smoke_test(self.control, release, model)
            self.tell(f"{release.step}: release {release.number} passed its smoke test")
        except BaseException:
            for model in networks:
                with suppress(Exception):  # the first failure is the one to tell
                    self._set_aside(model, {release.number})
            raise

    def _renew(self, release: Release) -> None:
        for model in renew(release):
            self.tell(f"{release.step}: release {release.number} has the new {PROGRAM} of {model}")

    def _switch(self, release: Release, share: float | None, since: str) -> None:
        old, (entry_points, _) = self._entry(release.step), _parted(release)
        new = Entry(release.number, before=old.release, since=since)
        if share is not None:
            new = replace(old, canary=release.number, share=share, since=since)
            release_state.write(self.repository, release.step, new)
        try:
            for model in entry_points:
                self._place(release, model)
                if old.release > release.number:
                    self._move_aside(model, old.release)
                self._load(release, model)
        except BaseException:
            for model in entry_points:
                self._return(Release(self.repository, release.step, old.release), model, {release.number})
            release_state.write(self.repository, release.step, old)
            raise
        release_state.write(self.repository, release.step, new)
        what = "is in force" if share is None else f"answers {share:.1%} of the requests"
        self.tell(f"{release.step}: release {release.number} {what}")

    def _back(self, step: str, entry: Entry) -> None:
        target = entry.release if entry.canary else entry.before
        assert target is not None
        leaving = entry.canary or entry.release
        release = Release(self.repository, step, target)
        if stale(release):  # it stood aside while the server was renewed
            release.verify()
            self._renew(release)
        entry_points, networks = _parted(release)
        for model in networks:  # loaded already, unless a server was started anew without them
            self._place(release, model)
            if target not in self.control.loaded(model):
                self._load(release, model)
        if entry.canary:
            release_state.write(self.repository, step, replace(entry, share=0.0))
        for model in entry_points:
            self._return(release, model, {leaving} if leaving > target else set())
        if entry.canary:  # until then it may have requests, and must know that they are not for it
            for model in entry_points:
                self.control.wait_unloaded(model, {leaving})
        release_state.write(self.repository, step, Entry(target, since=_now()))
        self.tell(f"{step}: release {target} is in force")

    def _return(self, release: Release, model: str, leaving: Collection[int]) -> None:
        """Have `release` newest among the model's versions; the `leaving` ones end with the requests they have."""
        self._place(release, model)
        for number in leaving:
            self._move_aside(model, number)
        self._load(release, model)

    def _load(self, release: Release, model: str) -> None:
        self.control.load(model, timeout=LOAD_TIMEOUT)
        if release.number not in self.control.loaded(model):
            raise release.refused(f"is not what the server loads for {model}: does it serve {self.repository}?")

    def _set_aside(self, model: str, numbers: Collection[int]) -> None:
        """No server loads these any more, and this one has answered what they had begun."""
        for number in numbers:
            self._move_aside(model, number)
        known = self.control.states(model).keys() & set(numbers)
        if known:
            self.control.load(model, timeout=LOAD_TIMEOUT)
            self.control.wait_unloaded(model, known)

    def _place(self, release: Release, model: str) -> None:
        if not release.place(model).is_dir():
            os.rename(release.aside(model), release.place(model))

    def _move_aside(self, model: str, number: int) -> None:
        place, aside = self.repository / model / str(number), self.repository / INACTIVE / model / str(number)
        if place.is_dir():
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(place, aside)

    def _entry(self, step: str) -> Entry:
        """The step's state, as true as the server's own versions: it may have been started with others."""
        loaded, entry = self.control.loaded(step), release_state.read(self.repository).get(step)
        if entry is not None and entry.release in loaded and (entry.canary is None or entry.canary in loaded):
            return entry
        if not loaded:
            raise NotPossible(f"the server has no release of {step} loaded: start it with one first.")
        return Entry(max(loaded))


def _parted(release: Release) -> tuple[list[str], list[str]]:
    """The release's models that callers reach, and its networks."""
    entry_points = [model for model in release.models if model in CALLED]
    return entry_points, [model for model in release.models if model not in CALLED]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
