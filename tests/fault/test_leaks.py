"""What callers send stands in no log at the default level, and where the server's files are in no answer."""

import re
import urllib.error
import urllib.request

import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from tests.conftest import REPOSITORY
from tests.served.pictures import tensor

SECRET = "the-word-of-a-caller"
INSIDE = re.compile(r"Traceback|File \"|/(?:home|tmp|usr|opt|root|work)/|\w\.(?:py|cc|cpp|h):\d")


@pytest.fixture
def said(server):
    """Reads what the log got since the test began."""
    size = server.log_path.stat().st_size

    def read():
        with server.log_path.open() as log:
            log.seek(size)
            return log.read()

    return read


REQUESTS = {
    "prompt": ("parse", [tensor("prompt", f"Replace the {SECRET} with a boat".encode(), "BYTES")]),
    "no edit": ("parse", [tensor("prompt", SECRET.encode(), "BYTES")]),
    "long prompt": ("parse", [tensor("prompt", SECRET.encode() * 1000, "BYTES")]),
    "prompt that is no text": ("parse", [tensor("prompt", SECRET.encode() + b"\xff\xfe", "BYTES")]),
    "picture that is none": ("mask", [tensor("image", SECRET.encode(), "BYTES"), tensor("target", b"car", "BYTES")]),
    "unknown input": ("parse", [tensor(SECRET, b"x", "BYTES")]),
    "unknown model": (SECRET, [tensor("prompt", b"x", "BYTES")]),
    "two prompts": ("parse", [tensor("prompt", [SECRET.encode()] * 2, "BYTES", (1, 2))]),
    "tokens beyond the vocabulary": ("text_encoder", [tensor("input_ids", [2**30] * 77, "INT64", (1, 77))]),
    "channels that do not fit": ("vae_encoder", [tensor("sample", [0.0] * 324, "FP32", (1, 4, 9, 9))]),
}


@pytest.mark.parametrize("fault", REQUESTS)
def test_a_caller_sends_what_cannot_be_served_and_no_log_repeats_it(server, said, fault):
    answer = ""
    with grpc.InferenceServerClient(server.grpc_url) as client:
        try:
            client.infer(*REQUESTS[fault], parameters={"note": SECRET}, headers={"note": SECRET})
        except InferenceServerException as error:
            answer = error.message()
    assert bool(answer) is (fault != "prompt")
    assert not INSIDE.search(answer), answer
    clean(said())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"models/{SECRET}/infer", b"{}"),
        ("models/parse/infer", f'{{"inputs": "{SECRET}'.encode()),
        ("models/parse/infer", f'{{"inputs": [{{"name": "{SECRET}"}}]}}'.encode()),
        ("models/parse/generate", f'{{"prompt": "{SECRET}"}}'.encode()),
        (f"../{SECRET}", b""),
    ],
)
def test_an_http_request_cannot_be_read_and_no_log_repeats_it(server, said, path, body):
    request = urllib.request.Request(f"http://{server.http_url}/v2/{path}", data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    assert not INSIDE.search(text), text
    clean(said())


def clean(log):
    assert SECRET not in log
    assert "Traceback" not in log
    assert str(REPOSITORY) not in log
