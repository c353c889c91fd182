"""Manifests of releases: what the export writes is verified, and every damage is named."""

import json
import shutil

import pytest
from recast.cli import main

from serving.releases.errors import BadRelease
from serving.releases.repository import Release, on_disk


@pytest.fixture
def release(exported, tmp_path):
    """Release 1 of inpaint in a copy of the exported repository."""
    return Release(shutil.copytree(exported.repository, tmp_path / "model_repository"), "inpaint", 1)


def test_the_manifest_says_what_a_release_was_made_of(release):
    manifest = release.manifest
    assert (manifest["release"], manifest["step"]) == (1, "inpaint")
    assert manifest["source"] == {"checkpoint": "a folder", "revision": None}
    assert json.loads(manifest["origin"]["settings"])["num_inference_steps"] == 12
    assert manifest["tools"].keys() >= {"torch", "transformers", "diffusers", "onnx", "onnxruntime-gpu", "openvino"}
    assert {"text_encoder", "vae_encoder", "vae_decoder", "unet"} < set(release.models)
    assert release.models[-1] == "inpaint"


@pytest.mark.parametrize("step", ["parse", "mask", "inpaint"])
def test_an_exported_release_is_whole(exported, step):
    release = Release(exported.repository, step, 1)
    files = [file for model in release.models for file in release.folder(model).rglob("*") if file.is_file()]
    assert len(release.manifest["files"]) == len(files) - 1
    assert release.verify() == sum(file.stat().st_size for file in files if file.name != "release.json")


def test_a_release_is_verified_where_it_stands_aside(release):
    for model in release.models:
        release.aside(model).parent.mkdir(parents=True)
        release.place(model).rename(release.aside(model))
    assert release.verify()
    assert on_disk(release.repository, "inpaint") == [1]


def truncated(release):
    weights = release.place("unet") / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-100])


def altered(release):
    weights = release.place("vae_decoder") / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)


def without_network(release):
    shutil.rmtree(release.place("text_encoder"))


def without_program(release):
    (release.place("inpaint") / "model.py").unlink()


def with_a_strange_file(release):
    (release.place("inpaint") / "sitecustomize.py").write_text("")


def without_manifest(release):
    (release.place("inpaint") / "release.json").unlink()


def of_another_number(release):
    release.place("inpaint").rename(release.repository / "inpaint" / "2")
    (release.repository / "inpaint" / "1").symlink_to("2")
    rewrite(release, release=2)


def without_files(release):
    rewrite(release, files=None)


def naming_files_outside(release):
    files = json.loads((release.place("inpaint") / "release.json").read_text())["files"]
    rewrite(release, files={**files, "inpaint/../../../etc/passwd": {"bytes": 1, "sha256": ""}})


def gone(release):
    shutil.rmtree(release.place("inpaint"))


def rewrite(release, /, **changes):
    file = release.place("inpaint") / "release.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncated, r"unet/model.onnx.data has \d+ bytes and the manifest says \d+"),
        (altered, "vae_decoder/model.onnx.data has another SHA-256"),
        (without_network, "lacks the folder of text_encoder"),
        (without_program, "lacks inpaint/model.py"),
        (with_a_strange_file, "a file that its manifest does not name: inpaint/sitecustomize.py"),
        (without_manifest, "has no release.json: export it again"),
        (of_another_number, "has the manifest of release 2"),
        (without_files, "names no files"),
        (naming_files_outside, "names a file outside it"),
        (gone, "is not in .*: export it first"),
    ],
)
def test_a_damaged_release_is_refused_with_its_reason(release, damage, sentence):
    damage(release)
    with pytest.raises(BadRelease, match=f"release 1 of inpaint .*{sentence}"):
        release.verify()


def test_the_command_verifies_and_names_the_damage(exported, release, capsys):
    words = ["releases", "verify", "1", "--model-repository"]
    assert main([*words, str(exported.repository)]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["parse", "mask", "inpaint"]
    truncated(release)
    assert main([*words, str(release.repository), "--step", "inpaint", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["error"], told["exit_code"]) == ("bad_release", 1)
    assert "unet/model.onnx.data has" in told["message"]
    assert main(["releases", "verify", "7", "--model-repository", str(release.repository)]) == 1
    assert "has no release 7" in capsys.readouterr().err
    assert main(["releases", "deploy", "2", "--share", "200%"]) == 2
