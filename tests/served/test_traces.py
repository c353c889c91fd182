"""One edit, one trace: from the caller's span through every step and network."""

import pytest
from PIL import Image
from recast import Client

from benchmarks.traces import PICTURE, collector, tree
from serving.launcher.preflight import LaunchError
from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from serving.launcher.telemetry import Traces
from tests.conftest import REPOSITORY

PROMPT = "Replace the car with a bicycle"
SELDOM = 1_000_000


@pytest.fixture(scope="module")
def collected():
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def client(collected):
    with (
        start(ServerOptions(REPOSITORY, traces=Traces(collected.url, rate=SELDOM))) as server,
        Client(server.grpc_url) as running,
    ):
        yield running


def names(spans, span):
    return [line.rsplit(maxsplit=2)[0] for line in tree(spans, span)]


def test_an_edit_is_one_trace_with_every_step_and_network(client, collected):
    kinds = iter(["bicycle", "tree", "dog", "boat"])

    def replace():
        """An edit of which no step remembers a part."""
        kind = next(kinds)
        picture = Image.open(PICTURE).convert("RGB")
        picture.putpixel((0, 0), (len(kind), ord(kind[0]), 0))
        return client.replace(
            picture,
            f"Replace the car with a {kind}",
            num_inference_steps=3,
            negative_prompt=f"no {kind}",
            max_attempts=1,
        )

    edit, caller, spans = collected.trace(replace)
    assert names(spans, caller) == [
        "InferRequest",
        "  replace",
        "    admit",
        "    parse",
        "    mask",
        "      segmenter × 2",
        "    inpaint",
        "      vae_encoder",
        "      text_encoder × 2",
        "      unet × 3",
        "      vae_decoder",
        "      segmenter",
    ]
    models = [one for one in spans if one.name not in ("InferRequest", "compute")]
    assert {one.request_id for one in models} == {edit.request_id}
    whole = next(one for one in spans if one.name == "InferRequest")
    assert all(whole.start <= one.start <= one.end <= whole.end + 1 for one in models)


def test_a_streamed_edit_is_one_trace_too(client, collected):
    def stream():
        *_, edit = client.replace_stream(PICTURE, PROMPT, num_inference_steps=3)
        return edit

    edit, _, spans = collected.trace(stream)
    assert {"replace_stream", "parse", "mask", "unet"} <= {span.name for span in spans}
    assert {span.request_id for span in spans if span.name == "unet"} == {edit.request_id}


def test_without_a_callers_context_the_rate_decides(client, collected):
    edit = client.replace(PICTURE, PROMPT, num_inference_steps=2)
    collected.trace(lambda: client.parse(PROMPT))  # spans come in their order: an earlier request's would be there
    assert edit.request_id not in {span.request_id for span in collected.spans}


@pytest.mark.parametrize("url", ["collector:4318", "http://collector:4318", "file:///tmp/spans"])
def test_a_url_that_would_trace_nothing_is_refused(url):
    with pytest.raises(LaunchError, match="/v1/traces"):
        Traces(url).options()


def test_a_rate_below_one_is_refused():
    with pytest.raises(LaunchError, match="rate"):
        Traces("http://collector:4318/v1/traces", rate=0).options()
