"""Releases of an earlier version: verified, then renewed to one import line a step; interrupted, refused, left so."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from recast.cli import main

from serving.launcher import preflight
from serving.launcher.preflight import LaunchError, check_releases
from serving.releases import manifest
from serving.releases.errors import BadRelease
from serving.releases.manifest import PROGRAM, digest, import_line
from serving.releases.renewal import renew, stale
from serving.releases.repository import Release, exclusive
from serving.topology import SERVED_BY, STEPS
from tests.old_releases import PROGRAMS, make_all_old, programs

REPOSITORY = Path(__file__).parents[2] / "model_repository"
OLD = {"parse": ["parse"], "mask": ["mask"], "inpaint": ["replace_stream", "inpaint"]}


@pytest.fixture
def repository(exported, tmp_path):
    """Release 1 of everything as an earlier version wrote it, from tiny weights."""
    repository = shutil.copytree(exported.repository, tmp_path / "model_repository")
    make_all_old(repository)
    return repository


@pytest.fixture
def release(repository):
    return Release(repository, "inpaint", 1)


def contents(repository):
    return {file: file.read_bytes() for file in repository.rglob("*") if file.is_file()}


def refuse(*_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def interrupted_at(monkeypatch, owner, name, number):
    """The `number`th call of the function `name` from now on is where the power fails."""
    calls, real = iter(range(1, 100)), getattr(owner, name)

    def function(*arguments):
        if next(calls) == number:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize("model", [*STEPS, *SERVED_BY["inpaint"]])
def test_the_repositorys_programs_are_the_line_that_releases_are_renewed_to(model):
    assert (REPOSITORY / model / PROGRAM).read_bytes() == import_line(model)


@pytest.mark.parametrize("step", STEPS)
def test_an_old_release_is_whole_and_renewed_to_one_line_which_its_manifest_tells(repository, step):
    release = Release(repository, step, 1)
    was = release.manifest
    assert release.verify()
    assert stale(release) == OLD[step]
    assert renew(release) == OLD[step]
    for model, program in programs(release).items():
        name, file = f"{model}/{PROGRAM}", release.place(model) / PROGRAM
        assert file.read_bytes() == import_line(model)
        assert release.manifest["files"][name] == {"bytes": len(import_line(model)), "sha256": digest(file)}
        told = release.manifest["renewed"][name]
        assert told["from"] == was["files"][name]["sha256"] != digest(file)
        assert told["by"].count(".") == 2
        assert len(program) > 1000
    assert {**release.manifest, "files": 0, "renewed": 0} == {**was, "files": 0, "renewed": 0}
    assert release.verify()
    assert (stale(release), renew(release)) == ([], [])


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("owner", "name"), [(manifest, "replace_file"), (os, "replace")])
def test_a_renewal_that_was_interrupted_leaves_a_whole_release_and_is_ended_by_the_next(
    release, monkeypatch, owner, name, number
):
    with monkeypatch.context() as patches:
        interrupted_at(patches, owner, name, number)
        with pytest.raises(KeyboardInterrupt):
            renew(release)
    assert release.verify()
    assert renew(release)
    assert release.verify()
    assert not stale(release)
    assert set(release.manifest["renewed"]) == {f"{model}/{PROGRAM}" for model in OLD["inpaint"]}
    assert not list(release.repository.rglob(".model.py"))
    assert not list(release.repository.rglob(".release.json"))


def test_a_server_renews_what_it_serves_when_it_starts_once(repository, capsys):
    check_releases(repository)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "recast: release 1 of parse has the new model.py of parse",
        "recast: release 1 of mask has the new model.py of mask",
        "recast: release 1 of inpaint has the new model.py of replace_stream and inpaint",
        "recast: admit has the new model.py",
    ]
    assert (repository / "admit" / "1" / PROGRAM).read_bytes() == import_line("admit")
    now = contents(repository)
    check_releases(repository)
    assert capsys.readouterr().err == ""
    assert contents(repository) == now


def test_a_damaged_old_release_is_refused_before_anything_is_renewed(release):
    with (release.place("replace_stream") / PROGRAM).open("a") as program:
        program.write("# more\n")
    with pytest.raises(LaunchError, match=r"release 1 of inpaint is damaged: replace_stream/model\.py has"):
        check_releases(release.repository)
    assert (release.place("inpaint") / PROGRAM).read_bytes() == programs(release)["inpaint"]
    assert "renewed" not in release.manifest


def test_an_old_release_in_a_folder_that_cannot_be_written_is_refused_with_what_to_do(repository, monkeypatch):
    before = contents(repository)
    with monkeypatch.context() as patches:
        patches.setattr(manifest, "replace_file", refuse)
        with pytest.raises(
            LaunchError, match=r"Read-only file system\): start the server .* mounted writable"
        ) as error:
            check_releases(repository)
    assert "\n" not in str(error.value)
    assert contents(repository) == before


def test_an_old_admit_alone_is_renewed_or_refused_too(repository, monkeypatch):
    check_releases(repository)
    shutil.copyfile(PROGRAMS / "admit.py.txt", repository / "admit" / "1" / PROGRAM)
    with monkeypatch.context() as patches:
        patches.setattr(os, "replace", refuse)
        with pytest.raises(LaunchError, match="admit was written by an earlier version"):
            check_releases(repository)
    check_releases(repository)
    assert (repository / "admit" / "1" / PROGRAM).read_bytes() == import_line("admit")


def test_a_renewed_release_in_a_folder_that_cannot_be_written_is_served(repository, monkeypatch):
    check_releases(repository)
    monkeypatch.setattr(manifest, "replace_file", None)
    check_releases(repository)


def test_a_server_does_not_renew_while_another_changes_the_repository(repository, monkeypatch):
    monkeypatch.setattr(preflight, "LOCK_PATIENCE", 0.2)
    before = contents(repository)
    with exclusive(repository), pytest.raises(LaunchError, match="another deployment or export is at work"):
        check_releases(repository)
    assert contents(repository) == before


def test_a_program_that_has_nothing_of_ours_is_left_alone(release):
    (release.place("inpaint") / PROGRAM).write_text("class TritonPythonModel:\n    pass\n")
    with pytest.raises(BadRelease):
        release.verify()
    assert stale(release) == ["replace_stream"]


def test_the_command_verifies_an_old_release_and_changes_nothing(repository, capsys):
    before = contents(repository)
    assert main(["releases", "verify", "1", "--model-repository", str(repository)]) == 0
    assert capsys.readouterr().out.count("is as exported") == 3
    assert contents(repository) == before
