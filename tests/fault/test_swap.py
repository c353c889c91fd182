"""Releases swapped while edits flow: none fails, each is of a release in force and of no other."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from recast import Client
from recast.cli import main

from benchmarks.second import copied, renewed
from serving.releases.errors import NotPossible
from serving.steps.canary import share_point


@pytest.fixture(scope="module")
def second(operated):
    """Release 2 of inpaint, which paints otherwise: its UNet's and its decoder's weights are a little larger."""
    release = copied(operated.repository, "inpaint", 2)
    for model in ("unet", "vae_decoder"):
        file = release.place(model) / "model.onnx.data"
        (np.fromfile(file, np.float32) * np.float32(1.01)).tofile(file)
    renewed(operated.repository, "inpaint", 2)
    return release


def test_swap_under_load_fails_no_request_and_mixes_no_releases(restored, second):
    swaps, pictures = [(0.0, 1)], {}
    with restored.calls() as calls:
        for number in (2, 1, 2, 1):
            started = time.monotonic()
            restored.releases.deploy(2, ["inpaint"]) if number == 2 else restored.releases.rollback([])
            swaps += [(started, None), (time.monotonic(), number)]
            edit = restored.edit()
            assert edit.report["releases"] == {"parse": 1, "mask": 1, "inpaint": number}
            assert restored.client.control.loaded("inpaint")[-1] == number
            assert pictures.setdefault(number, edit.png) == edit.png  # nothing of the other release is remembered
    assert pictures[1] != pictures[2]
    assert calls.errors == []
    assert calls.unready == 0
    for started, edit, ended in calls.edits:
        release = edit.report["releases"]["inpaint"]
        assert edit.png == pictures[release]
        assert release in in_force(swaps, started, ended)


def in_force(swaps, started, ended):
    """The releases that were in force at some time in between; while a swap went on, both."""
    before = [number for moment, number in swaps if moment <= started][-1:]
    seen = {*before, *(number for moment, number in swaps if started < moment <= ended)}
    return {1, 2} if None in seen else seen


def test_swap_reaches_the_stream_too_and_survives_any_load(restored, second):
    restored.releases.deploy(2, [])
    assert streamed(restored).report["releases"]["inpaint"] == 2
    assert streamed(restored).png == restored.edit().png
    restored.releases.rollback([])
    for model in ("inpaint", "replace_stream", "unet", "replace"):  # as a supervisor does, and a server that starts
        restored.server.control.load(model)
    assert restored.edit().report["releases"]["inpaint"] == 1
    assert streamed(restored).report["releases"]["inpaint"] == 1
    with pytest.raises(NotPossible, match="no release to go back to"):
        restored.releases.rollback([])


def streamed(operated):
    *_, edit = operated.client.replace_stream(operated.picture, operated.sentence, seed=3, num_inference_steps=2)
    return edit


@pytest.fixture(scope="module")
def second_mask(operated):
    """Release 2 of mask, which finds what release 1 does."""
    return copied(operated.repository, "mask", 2)


def test_another_server_gives_the_same_bytes_and_a_new_release_its_own_answer(server, restored, second_mask):
    with Client(server.grpc_url) as client:
        ask = {"image": restored.picture, "prompt": restored.sentence, "seed": 5, "num_inference_steps": 2}
        remembered = [client.replace(**ask) for _ in range(4)]
    assert {edit.pngs for edit in remembered} == {restored.client.replace(**ask).pngs}
    assert restored.client.replace(**ask).report["releases"]["mask"] == 1
    restored.releases.deploy(2, ["mask"])
    assert restored.client.replace(**ask).report["releases"]["mask"] == 2


def test_canary_has_its_share_by_key_then_nothing_or_all(restored, second, second_mask):
    files = [file(restored.picture, number) for number in range(8)]
    expected = [2 if share_point(data) < 0.5 else 1 for data in files]
    assert set(expected) == {1, 2}
    with restored.calls() as calls:
        restored.releases.deploy(2, ["inpaint", "mask"], share=0.5)
        assert releases_of(restored, files) == expected
        assert releases_of(restored, files) == expected
        *_, edit = restored.client.replace_stream(files[expected.index(1)], restored.sentence, num_inference_steps=2)
        assert edit.report["releases"]["inpaint"] == 1
        with pytest.raises(NotPossible, match="has the canary 2"):
            restored.releases.deploy(2, ["mask"])
        assert restored.releases.rollback([]) == ["mask", "inpaint"]
        assert releases_of(restored, files) == [1] * 8
        restored.releases.deploy(2, ["inpaint", "mask"], share=0.1)
        assert restored.releases.promote([]) == ["mask", "inpaint"]
        assert releases_of(restored, files) == [2] * 8
    assert (calls.errors, calls.unready) == ([], 0)
    restored.releases.rollback([])


def file(picture, number):
    """A PNG file of the picture with one pixel changed."""
    changed, content = picture.copy(), io.BytesIO()
    changed.putpixel((0, 0), (number, number, number))
    changed.save(content, "PNG")
    return content.getvalue()


def releases_of(operated, files):
    """The release that edits each picture, found and painted by the same one; all asked for at once."""
    with ThreadPoolExecutor(len(files)) as pool:
        edits = pool.map(lambda data: operated.client.replace(data, operated.sentence, num_inference_steps=2), files)
        releases = [edit.report["releases"] for edit in edits]
    assert all(each["mask"] == each["inpaint"] for each in releases)
    return [each["inpaint"] for each in releases]


def test_command_without_the_admin_key_is_refused_and_with_it_tells_what_is_in_force(restored, capsys, monkeypatch):
    words = ["releases", "--url", restored.server.grpc_url, "--model-repository", str(restored.repository), "--json"]
    monkeypatch.delenv("RECAST_ADMIN_KEY", raising=False)
    assert main(words) != 0
    assert json.loads(capsys.readouterr().out)["error"] == "access_denied"
    monkeypatch.setenv("RECAST_ADMIN_KEY", restored.server.admin_key)
    assert main(words) == 0
    steps = {step["step"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert {name: step["in_force"] for name, step in steps.items()} == {"parse": 1, "mask": 1, "inpaint": 1}
    assert all(1 in step["loaded"] and 1 in step["on_disk"] for step in steps.values())
