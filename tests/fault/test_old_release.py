"""Releases of an earlier version of the server, which hold their steps' programs in full: served and gone back to."""

import shutil

import pytest

from benchmarks.second import copied
from serving.releases.manifest import PROGRAM, import_line
from serving.releases.repository import Release
from serving.topology import STEPS
from tests.old_releases import make_old, programs

NUMBER = 4


@pytest.fixture
def second(restored):
    """Release 4 of inpaint and mask, written by the earlier version too, for a test that rolls it back."""
    releases = [copied(restored.repository, step, NUMBER) for step in ("mask", "inpaint")]
    for release in releases:
        make_old(release)
    models = [model for release in releases for model in release.models]
    yield releases
    for model in models:
        for release in releases:
            shutil.rmtree(release.place(model), ignore_errors=True)
            shutil.rmtree(release.aside(model), ignore_errors=True)


def is_renewed(release: Release) -> bool:
    """Whether the release holds import lines alone, and its manifest says what they were before."""
    told = release.manifest["renewed"]
    release.verify()
    return all(
        (release.folder(model) / PROGRAM).read_bytes() == import_line(model) and f"{model}/{PROGRAM}" in told
        for model in programs(release)
    )


def test_old_releases_are_renewed_when_a_server_starts_and_when_deployed_and_rolled_back(restored, second):
    assert all(is_renewed(Release(restored.repository, step, 1)) for step in STEPS)
    first = restored.edit()
    assert first.report["releases"] == {"parse": 1, "mask": 1, "inpaint": 1}
    with restored.calls() as calls:
        assert restored.releases.deploy(NUMBER, []) == ["mask", "inpaint"]
        assert all(is_renewed(release) for release in second)
        edit = restored.edit()
        assert edit.report["releases"] == {"parse": 1, "mask": NUMBER, "inpaint": NUMBER}
        assert edit.png == first.png  # the same weights
        restored.releases.rollback([])
        edit = restored.edit()
        assert edit.report["releases"] == {"parse": 1, "mask": 1, "inpaint": 1}
        assert edit.png == first.png
    assert (calls.errors, calls.unready) == ([], 0)
