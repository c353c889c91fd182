"""Broken releases: each is refused with its reason, and callers notice nothing."""

import shutil

import numpy as np
import pytest
from recast import RecastError

from benchmarks.second import copied, renewed
from serving.releases.errors import ReleaseError
from serving.releases.repository import Release

NUMBER = 3


def truncated_weights(release):
    file = release.place("unet") / "model.onnx.data"
    file.write_bytes(file.read_bytes()[:-1000])


def truncated_before_its_manifest(release):
    file = release.place("vae_decoder") / "model.onnx"
    file.write_bytes(file.read_bytes()[:1000])
    renewed(release.repository, release.step, NUMBER)


def another_hash(release):
    file = release.place("vae_encoder") / "model.onnx.data"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)


def wrong_shapes(release):
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copyfile(release.place("vae_encoder") / name, release.place("vae_decoder") / name)
    renewed(release.repository, release.step, NUMBER)


def missing_network(release):
    shutil.rmtree(release.place("text_encoder"))


def weights_that_give_nan(release):
    file = release.place("unet") / "model.onnx.data"
    np.full(file.stat().st_size // 4, np.nan, np.float32).tofile(file)
    renewed(release.repository, release.step, NUMBER)


def program_that_fails(release):
    (release.place("inpaint") / "model.py").write_text("raise RuntimeError('no such thing')\n")
    renewed(release.repository, release.step, NUMBER)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated_weights, r"unet/model\.onnx\.data has \d+ bytes and the manifest says \d+"),
        (truncated_before_its_manifest, "vae_decoder.*version 3"),
        (another_hash, r"vae_encoder/model\.onnx\.data has another SHA-256"),
        (wrong_shapes, "model.onnx does not match config.pbtxt"),
        (missing_network, "lacks the folder of text_encoder"),
        (weights_that_give_nan, "'unet' version 3 gives values that are not finite"),
        (program_that_fails, "fails its smoke test: .*no such thing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_release_is_refused_and_service_goes_on(restored, damage, reason):
    release = copied(restored.repository, "inpaint", NUMBER)
    damage(release)
    try:
        with restored.calls() as calls, pytest.raises((RecastError, ReleaseError), match=reason) as refused:
            restored.releases.deploy(NUMBER, [])
        assert "\n" not in str(refused.value)
        assert (calls.errors, calls.unready) == ([], 0)
        assert {edit.report["releases"]["inpaint"] for _, edit, _ in calls.edits} == {1}
        assert restored.edit().report["releases"]["inpaint"] == 1
        for model in Release(restored.repository, "inpaint", 1).models:
            assert restored.client.control.states(model).get(NUMBER, "UNAVAILABLE") == "UNAVAILABLE"
            assert 1 in restored.client.control.loaded(model)
        assert not list(restored.repository.glob(".smoke-test-*"))
    finally:
        for model in Release(restored.repository, "inpaint", 1).models:
            shutil.rmtree(release.place(model), ignore_errors=True)
            shutil.rmtree(release.aside(model), ignore_errors=True)
