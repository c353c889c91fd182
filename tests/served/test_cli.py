"""What a user types, on a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dockerfiles import DOCKER, health

SENTENCE = "Replace the car with a bicycle"
LONG = ("--steps", "100", "--num-images", "8")


@pytest.fixture
def recast(server, street, tmp_path):
    """Runs the command in a folder with street.png; returns the finished process."""
    Image.fromarray(street[0].image).save(tmp_path / "street.png")

    def run(*words: str, url: str = server.grpc_url) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "recast", *words],
            cwd=tmp_path,
            env={**os.environ, "RECAST_URL": url},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_edit_writes_the_picture_the_mask_and_the_strip(recast, street, tmp_path):
    extras = ("--mask-out", "mask.png", "--strip", "strip.png")
    done = recast("edit", "street.png", SENTENCE, "-o", "after.png", "--seed", "3", "--steps", "6", *extras)
    assert done.returncode == 0, done.stderr
    assert 'replace "car" with "bicycle"' in done.stdout
    assert "inpaint" in done.stdout
    after, mask = (np.asarray(Image.open(tmp_path / name)) for name in ("after.png", "mask.png"))
    np.testing.assert_array_equal(after[mask == 0], street[0].image[mask == 0])
    assert (after != street[0].image).any()
    assert Image.open(tmp_path / "strip.png").width == 3 * street[0].image.shape[1] + 16


def test_edit_as_json_with_variants(recast, tmp_path):
    done = recast(
        "edit", "street.png", "remove the car", "--num-images", "2", "--steps", "2", "--max-attempts", "1", "--json"
    )
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["intent"] == "remove"
    assert document["pictures"] == ["street-edited-1.png", "street-edited-2.png"]
    assert document["seeds"][1] == document["seeds"][0] + 1
    assert all((tmp_path / name).exists() for name in document["pictures"])
    assert document["report"]["releases"].keys() == {"parse", "mask", "inpaint"}


def test_jpeg_in_and_webp_out(recast, street, tmp_path):
    Image.fromarray(street[0].image).save(tmp_path / "street.jpg", quality=95)
    done = recast("edit", "street.jpg", SENTENCE, "-o", "after.webp", "--steps", "2", "--json")
    assert done.returncode == 0, done.stdout
    assert Image.open(tmp_path / "after.webp").size == Image.open(tmp_path / "street.jpg").size


def test_what_the_demo_weights_know_is_told_for_what_is_not_found(recast):
    told = recast("edit", "street.png", "remove the unicorn").stderr
    assert "The demo weights know drawings of car, bicycle," in told
    assert "for photographs export public checkpoints, see export's README." in told


def test_a_picture_through_pipes_is_the_one_of_the_file(server, recast, tmp_path):
    done = recast("edit", "street.png", SENTENCE, "-o", "after.png", "--seed", "3", "--steps", "2")
    assert done.returncode == 0, done.stderr
    piped = subprocess.run(
        [sys.executable, "-m", "recast", "edit", "-", SENTENCE, "--seed", "3", "--steps", "2"],
        env={**os.environ, "RECAST_URL": server.grpc_url},
        input=(tmp_path / "street.png").read_bytes(),
        capture_output=True,
        timeout=120,
    )
    assert (piped.returncode, piped.stdout) == (0, (tmp_path / "after.png").read_bytes())
    assert b"Understood:" in piped.stderr


def test_parse(recast):
    done = recast("parse", "swap the red car on the left for a boat", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    understood = (document["intent"], document["target"], document["replacement"])
    assert understood == ("replace", "red car on the left", "boat")


def test_mask_writes_the_outline(recast, street, tmp_path):
    done = recast("mask", "street.png", "car", "-o", "mask.png")
    assert done.returncode == 0
    assert "car (score" in done.stdout
    mask = Image.open(tmp_path / "mask.png")
    assert mask.mode == "L"
    assert mask.size == street[0].image.shape[1::-1]


def test_status(recast):
    done = recast("status")
    assert done.returncode == 0
    assert "ready, release" in done.stdout


def test_errors_have_their_exit_codes(recast, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for words, code, name in [
        (("edit", "text.png", SENTENCE), 2, "invalid_image"),
        (("edit", "street.png", ""), 2, "invalid_prompt"),
        (("edit", "street.png", SENTENCE, "--steps", "0"), 2, "invalid_option"),
        (("edit", "nowhere.png", SENTENCE), 2, "usage"),
        (("edit", "street.png", "hello there"), 3, "not_an_edit"),
        (("edit", "street.png", "remove the unicorn"), 3, "object_not_found"),
        (("edit", "street.png", SENTENCE, *LONG, "--timeout", "0.05"), 4, "deadline_exceeded"),
        (("status", "--url", "localhost:1"), 5, "server_unavailable"),
    ]:
        done = recast(*words, "--json")
        document = json.loads(done.stdout)
        assert (done.returncode, document["error"]) == (code, name), (words, document)
        told = recast(*words)
        assert told.returncode == code
        assert told.stderr.startswith("recast: ")
        assert told.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["street.png", "text.png"]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_images_health_check_passes_on_a_healthy_server_alone(server, tmp_path, kind):
    _, command = health(kind)
    command = command.replace("/tmp/", f"{tmp_path}/").replace("/opt/recast/", f"{DOCKER}/")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for url, wanted in ((server.grpc_url, 0), ("localhost:1", 1)):
        done = subprocess.run(
            ["sh", "-c", command], env={**os.environ, "PATH": programs, "RECAST_URL": url}, capture_output=True
        )
        assert done.returncode == wanted, done.stderr
    assert (tmp_path / "health.png").exists()
