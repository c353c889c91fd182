"""Deployments against a server in memory, which loads what Triton would: order, state, limits, old releases."""

import shutil

import pytest
import recast.control
from recast.cli import main

from serving.launcher import control_client
from serving.releases import deploy, release_state
from serving.releases.control import LOAD_TIMEOUT
from serving.releases.deploy import Releases
from serving.releases.errors import BadRelease, Busy, NotPossible
from serving.releases.manifest import PROGRAM, import_line
from serving.releases.release_state import Entry
from serving.releases.repository import Release, exclusive, placed
from serving.topology import STEPS, released_with
from tests.old_releases import make_old


class Loader:
    """Control of a server that serves the two newest versions of each model and infers nothing."""

    def __init__(self, repository):
        self.repository = repository
        self.versions = {}
        self.timeouts = set()
        for step in STEPS:
            for model in released_with(step):
                self.load(model, timeout=LOAD_TIMEOUT)

    def load(self, model, *, timeout):
        self.timeouts.add(timeout)
        self.versions[model] = sorted(placed(self.repository, model))[-2:]

    def unload(self, model, *, timeout):
        self.timeouts.add(timeout)
        del self.versions[model]

    def loaded(self, model):
        return tuple(self.versions.get(model, ()))

    def states(self, model):
        return dict.fromkeys(self.loaded(model), "READY")

    def wait_unloaded(self, model, versions):
        assert not set(versions) & set(self.loaded(model))


@pytest.fixture
def releases(exported, tmp_path, monkeypatch):
    """Release 1 in force and an old release 2 of mask aside, on a server that passes every smoke test."""
    repository = shutil.copytree(exported.repository, tmp_path / "model_repository")
    first, second = (Release(repository, "mask", number) for number in (1, 2))
    control = Loader(repository)
    for model in first.models:
        shutil.copytree(first.place(model), second.place(model))
    make_old(second)
    for model in second.models:
        second.aside(model).parent.mkdir(parents=True)
        second.place(model).rename(second.aside(model))
    monkeypatch.setattr(deploy, "smoke_test", lambda control, release, model: None)
    lines = []
    releases = Releases(repository, control, lines.append)
    releases.lines = lines
    return releases


def test_an_old_release_that_stood_aside_is_renewed_when_it_is_deployed(releases):
    assert releases.deploy(2, []) == ["mask"]
    release = Release(releases.repository, "mask", 2)
    assert (release.place("mask") / PROGRAM).read_bytes() == import_line("mask")
    assert release.verify()
    assert "mask: release 2 has the new model.py of mask" in releases.lines
    assert releases.control.loaded("mask") == (1, 2)
    assert releases.rollback([]) == ["mask"]
    assert releases.control.loaded("mask") == (1,)


def test_an_old_release_that_stood_aside_is_renewed_when_it_is_gone_back_to(releases):
    release_state.write(releases.repository, "mask", Entry(1, before=2, since="2026"))
    assert releases.rollback([]) == ["mask"]
    release = Release(releases.repository, "mask", 2)
    assert (release.place("mask") / PROGRAM).read_bytes() == import_line("mask")
    assert release_state.read(releases.repository)["mask"].release == 2


def test_a_damaged_old_release_is_not_gone_back_to(releases):
    release_state.write(releases.repository, "mask", Entry(1, before=2, since="2026"))
    release = Release(releases.repository, "mask", 2)
    with (release.aside("mask") / PROGRAM).open("a") as program:
        program.write("# more\n")
    with pytest.raises(BadRelease, match=r"damaged: mask/model\.py"):
        releases.rollback([])
    assert not release.place("mask").exists()


def test_a_damaged_old_release_is_refused_as_it_is(releases):
    release = Release(releases.repository, "mask", 2)
    with (release.aside("segmenter") / "model.onnx").open("ab") as network:
        network.write(b"more")
    with pytest.raises(BadRelease, match=r"damaged: segmenter/model\.onnx"):
        releases.deploy(2, [])
    assert (release.aside("mask") / PROGRAM).read_bytes() != import_line("mask")
    assert releases.control.loaded("mask") == (1,)


def test_one_deployment_at_a_time(releases):
    with exclusive(releases.repository), pytest.raises(Busy, match="another deployment or export"):
        releases.deploy(2, [])
    with pytest.raises(NotPossible, match="has no release 7"):
        releases.deploy(7, [])


def test_a_canary_is_promoted_or_taken_back(releases):
    with pytest.raises(NotPossible, match="no canary to promote"):
        releases.promote([])
    releases.deploy(2, [], share=0.25)
    entry = release_state.read(releases.repository)["mask"]
    assert (entry.release, entry.canary, entry.share) == (1, 2, 0.25)
    with pytest.raises(NotPossible, match="has the canary 2"):
        releases.deploy(2, [])
    assert releases.rollback([]) == ["mask"]
    assert releases.control.loaded("mask") == (1,)
    releases.deploy(2, [], share=0.25)
    assert releases.promote([]) == ["mask"]
    entry = release_state.read(releases.repository)["mask"]
    assert (entry.release, entry.before, entry.canary) == (2, 1, None)
    with pytest.raises(NotPossible, match="in force already"):
        releases.deploy(2, [])
    with pytest.raises(NotPossible, match="needs a higher number"):
        releases.deploy(1, ["mask"], share=0.25)
    assert releases.deploy(1, ["mask"]) == ["mask"]
    assert releases.control.loaded("mask") == (1,)


def test_a_load_that_fails_leaves_the_release_in_force(releases, monkeypatch):
    control = releases.control
    real = control.load

    def load(model, *, timeout):
        real(model, timeout=timeout)
        if model == "mask":
            control.versions[model] = [1]  # it takes the older one alone

    monkeypatch.setattr(control, "load", load)
    with pytest.raises(BadRelease, match="is not what the server loads for mask"):
        releases.deploy(2, [])
    assert control.loaded("mask") == (1,)
    assert release_state.read(releases.repository)["mask"].release == 1


def test_networks_of_a_release_that_fails_its_smoke_test_are_taken_away(releases, monkeypatch):
    def fail(control, release, model):
        assert control.loaded("segmenter") == (1, 2)
        raise release.refused("fails its smoke test: it does")

    monkeypatch.setattr(deploy, "smoke_test", fail)
    with pytest.raises(BadRelease, match="it does"):
        releases.deploy(2, [])
    assert releases.control.loaded("segmenter") == releases.control.loaded("mask") == (1,)


def test_whoever_waits_for_a_load_waits_for_the_same_time(releases):
    releases.deploy(2, [])
    assert releases.control.timeouts == {LOAD_TIMEOUT}
    assert recast.control.LOAD_TIMEOUT == control_client.LOAD_TIMEOUT == LOAD_TIMEOUT


@pytest.mark.parametrize("method", ["load", "unload"])
def test_a_limit_that_is_given_to_the_clients_control_is_the_calls(method):
    class Transport:
        def call(self, name, *, client_timeout, model_name):
            self.seen = (name, client_timeout, model_name)
            return
            yield

    transport = Transport()
    control = recast.control.Control(transport, "localhost:1")
    getattr(control, method)("mask")
    assert transport.seen == (f"{method}_model", LOAD_TIMEOUT, "mask")
    getattr(control, method)("mask", timeout=7.0)
    assert transport.seen == (f"{method}_model", 7.0, "mask")


def test_the_commands_own_errors_have_their_name_and_status(tmp_path, capsys):
    words = ["releases", "--url", "localhost:1", "deploy", "2", "--model-repository", str(tmp_path / "none"), "--json"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert '"error": "busy"' in told.out
    assert "cannot be used" in told.out
    assert told.err == ""
