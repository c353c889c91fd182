"""The forwarder that stands for `parse` where the language model has servers of its own: docker/kubernetes/pools."""

import shutil
from pathlib import Path

import pytest
import recast

from benchmarks.fleet import free_ports
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions

FORWARDER = Path(__file__).parents[2] / "docker/kubernetes/pools/parse"


def mounted(folder: Path, url: str) -> Path:
    """A repository with the forwarder to `url` alone, laid as Kubernetes lays a config map: symbolic links to data."""
    data = folder / "parse/..2026_01_01"
    (data / "1").mkdir(parents=True)
    shutil.copy(FORWARDER / "model.py", data / "1")
    config = (FORWARDER / "config.pbtxt").read_text()
    assert "recast-parse:8001" in config
    (data / "config.pbtxt").write_text(config.replace("recast-parse:8001", url))
    (folder / "parse/..data").symlink_to(data.name)
    for name in ("config.pbtxt", "1"):
        (folder / "parse" / name).symlink_to(f"..data/{name}")
    return folder


def test_the_forwarder_answers_as_the_language_model_does(server, tmp_path):
    sentences = ["Replace the car with a bicycle", "get rid of the dog", "make the house blue"]
    with start(ServerOptions(mounted(tmp_path, server.grpc_url), ready_model="parse")) as forwarder:
        with recast.Client(server.grpc_url) as near, recast.Client(forwarder.grpc_url) as far:
            for sentence in sentences:
                ours, theirs = far.parse(sentence), near.parse(sentence)
                assert (ours.intent, ours.target, ours.replacement) == (
                    theirs.intent,
                    theirs.target,
                    theirs.replacement,
                )
                assert (ours.caption, ours.parse_score) == (theirs.caption, theirs.parse_score)
                assert ours.report["releases"] == theirs.report["releases"]
            for refused in ("", "hello there"):
                with pytest.raises(recast.RecastError) as here:
                    near.parse(refused)
                with pytest.raises(recast.RecastError) as there:
                    far.parse(refused)
                assert type(there.value) is type(here.value)
                assert there.value.sentence == here.value.sentence


def test_a_language_model_that_is_away_is_a_typed_error(tmp_path):
    with start(ServerOptions(mounted(tmp_path, f"127.0.0.1:{free_ports(1)[0]}"), ready_model="parse")) as forwarder:
        with recast.Client(forwarder.grpc_url, retries=0) as client, pytest.raises(recast.Restarting):
            client.parse("Replace the car with a bicycle")
