"""Two real replicas behind the real front proxy, with clients that try again: what one of them suffers nobody sees."""

import pytest
import tritonclient.http

from benchmarks.fleet import Proxy, Replica, free_ports, until
from benchmarks.replicas import START, Load
from tests.proxy import needs_haproxy

pytestmark = [needs_haproxy, pytest.mark.slow]  # three servers, a minute


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    ports = free_ports(2)
    with (
        Replica("127.0.0.1", ports, folder / "first.log") as first,
        Replica("127.0.0.2", ports, folder / "second.log") as second,
    ):
        yield first, second


@pytest.fixture(scope="module")
def proxy(replicas):
    first, second = replicas
    with Proxy(first.url, second.url, http_port=first.http_port, patience=2 * START) as running:
        yield running


@pytest.fixture
def load(proxy):
    """Six clients; every edit must be answered, the last ones too."""
    with Load(proxy.url, 6, steps=2) as running:
        running.more(6, 60)
        yield running
    assert running.failures == []


def edits(replica) -> int:
    """Those that the replica has made, as Triton counts them."""
    with tritonclient.http.InferenceServerClient(f"{replica.url.partition(':')[0]}:{replica.http_port}") as client:
        (stats,) = client.get_inference_statistics("replace")["model_stats"]
    return stats["inference_stats"]["success"]["count"]


def test_two_healthy_replicas_share_the_edits(replicas, load):
    """Which of the two is quicker on a busy machine is chance, so the bound is wide; `make replicas` is strict."""
    before = [edits(replica) for replica in replicas]
    load.more(60, 120)
    made = [edits(replica) - earlier for replica, earlier in zip(replicas, before, strict=True)]
    assert sum(made) >= 55
    assert min(made) >= 0.3 * sum(made)


def test_killed_server_loses_no_edit_of_clients_that_retry_and_comes_back(replicas, proxy, load):
    first, _ = replicas
    first.kill()
    proxy.wait(False, True)
    load.more(12, 60)
    proxy.wait(True, True, seconds=START)
    before = edits(first)
    until(lambda: edits(first) > before, START, "the first makes edits again")
    load.more(6, 60)


def test_stopped_server_answers_what_it_has_and_loses_no_edit(replicas, proxy, load):
    _, second = replicas
    assert second.drain() == 0
    proxy.wait(True, False)
    load.more(12, 60)
