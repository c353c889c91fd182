"""What both clients put on the wire, read from it, try again and give up on, against a scripted server."""

import asyncio
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import recast
from PIL import Image
from recast import conversation, tracing

OVERLOADED = (grpc.StatusCode.UNAVAILABLE, "in ensemble 'replace', overloaded: the queue is full, try again.")


def blob(*values: bytes) -> np.ndarray:
    return np.array([list(values)], dtype=np.object_)


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(file, format="PNG")
    return file.getvalue()


def edit(seed: int = 7, count: int = 1) -> dict[str, np.ndarray]:
    return {
        "edited_image": blob(*[picture(seed + i) for i in range(count)]),
        "mask_image": blob(picture(255)),
        "intent": blob(b"replace"),
        "target": blob("voiture à gauche".encode()),
        "replacement": blob(b"bicycle"),
        "parse_score": np.array([[0.5]], np.float32),
        "mask_score": np.array([[0.25]], np.float32),
        "used_seed": np.array([[seed + i for i in range(count)]], np.int64),
        "report": blob(json.dumps({"milliseconds": {"parse": 1.5}}).encode()),
    }


PARSE = {
    "intent": blob(b"remove"),
    "target": blob(b"dog"),
    "replacement": blob(b""),
    "caption": blob(b"empty background"),
    "parse_score": np.array([[0.75]], np.float32),
    "parse_report": blob(b"{}"),
}
MASK = {
    "mask_image": blob(picture(255)),
    "object_mask": blob(picture(200)),
    "mask_score": np.array([[0.5]], np.float32),
    "mask_report": blob(b"{}"),
}


class Awaited:
    """AsyncClient with blocking methods, so that each test runs over both clients."""

    def __init__(self, *arguments, **options):
        self._loop = asyncio.new_event_loop()
        self._client = recast.AsyncClient(*arguments, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def replace_stream(self, *arguments, **options):
        steps = self._client.replace_stream(*arguments, **options)
        try:
            while True:
                yield self._loop.run_until_complete(steps.__anext__())
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(steps.aclose())

    def __getattr__(self, name):
        return lambda *a, **k: self._loop.run_until_complete(getattr(self._client, name)(*a, **k))


@pytest.fixture(params=[recast.Client, Awaited], ids=["Client", "AsyncClient"])
def connect(request, monkeypatch):
    monkeypatch.setattr(conversation, "FIRST_PAUSE", 0.02)
    return request.param


def test_replace_sends_and_reads_everything(scripted_server, connect):
    scripted_server.script = [edit(count=2)]
    with connect(scripted_server.grpc_url) as client:
        result = client.replace(
            b"file\x00\x00",
            "Replace the car with a bicycle",
            seed=-3,
            num_inference_steps=9,
            guidance_scale=2.5,
            negative_prompt="",
            num_images=2,
        )
    model, inputs = scripted_server.calls[0]
    assert model == "replace"
    assert {name: (value.dtype, value.item()) for name, value in inputs.items()} == {
        "image": (np.dtype(object), b"file\x00\x00"),
        "prompt": (np.dtype(object), b"Replace the car with a bicycle"),
        "seed": (np.dtype(np.int64), -3),
        "num_inference_steps": (np.dtype(np.int32), 9),
        "guidance_scale": (np.dtype(np.float32), 2.5),
        "negative_prompt": (np.dtype(object), b""),
        "num_images": (np.dtype(np.int32), 2),
    }
    assert all(value.shape == (1, 1) for value in inputs.values())
    assert (result.intent, result.target, result.replacement) == ("replace", "voiture à gauche", "bicycle")
    assert (result.parse_score, result.mask_score) == (0.5, 0.25)
    assert (result.seed, result.seeds) == (7, (7, 8))
    assert result.pngs == (picture(7), picture(8))
    assert result.pictures[1].getpixel((0, 0)) == (8, 0, 0)
    assert result.picture.size == result.mask.size
    assert json.loads(json.dumps(result.summary()))["report"] == {"milliseconds": {"parse": 1.5}}


def test_the_canary_key_goes_with_the_call(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y", canary_key="user 7")
    assert scripted_server.parameters == [{"canary_key": "user 7"}]


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_the_priority_goes_with_the_call(scripted_server, connect, priority):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y", priority=priority)
        client.replace(b"x", "y")
        with pytest.raises(recast.InvalidOption, match="interactive or bulk"):
            client.replace(b"x", "y", priority="urgent")
    assert scripted_server.parameters == [{"priority_class": priority}, {}]


def test_absent_options_are_not_sent(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y")
    assert set(scripted_server.calls[0][1]) == {"image", "prompt"}


def test_replace_stream_yields_each_step_and_the_edit(scripted_server, connect):
    scripted_server.script = [edit(count=2)]
    with connect(scripted_server.grpc_url) as client:
        *steps, result = client.replace_stream(b"file", "Replace it", seed=7, num_images=2, preview_side=64)
    assert [(step.stage, step.step, step.steps) for step in steps] == list(scripted_server.progress)
    assert result.pngs == (picture(7), picture(8))
    model, inputs = scripted_server.calls[0]
    assert model == "replace_stream"
    assert {name: value.item() for name, value in inputs.items()} == {
        "image": b"file",
        "prompt": b"Replace it",
        "seed": 7,
        "num_images": 2,
        "preview_side": 64,
    }


def test_leaving_a_stream_cancels_it_on_the_server(scripted_server, connect):
    scripted_server.script = [edit()]
    scripted_server.held.clear()
    with connect(scripted_server.grpc_url) as client:
        steps = client.replace_stream(b"x", "y")
        assert next(steps).stage == "parse"
        steps.close()
        assert scripted_server.cancelled.wait(5)


def test_a_stream_is_tried_again_until_it_has_begun(scripted_server, connect, fault):
    away = fault(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    scripted_server.script = [fault(*OVERLOADED), away, edit()]
    with connect(scripted_server.grpc_url) as client:
        *_, result = client.replace_stream(b"x", "y")
    assert result.seed == 7
    assert scripted_server.streams == 3


def test_a_stream_that_breaks_off_fails_typed(scripted_server, connect, fault):
    scripted_server.script = [{"edited_image": blob(b"x")}, edit()]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.InternalError, match="mask_image"):
        list(client.replace_stream(b"x", "y"))
    assert scripted_server.streams == 1


def test_the_server_is_told_how_long_a_call_may_take(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url, timeout=None) as client:
        client.replace(b"x", "y")
        client.replace(b"x", "y", timeout=5)
        list(client.replace_stream(b"x", "y", timeout=5))
    assert scripted_server.timeouts[0] is None
    assert all(4e6 < microseconds <= 5e6 for microseconds in scripted_server.timeouts[1:])


def test_a_deadline_that_the_server_notices_first_is_one(scripted_server, connect, fault):
    late = "in ensemble 'replace', cancelled: the deadline passed before the edit was done; ask for less."
    scripted_server.script = [fault(grpc.StatusCode.CANCELLED, late)]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.DeadlineExceeded, match="5 s"):
        client.replace(b"x", "y", timeout=5)


def test_every_call_has_a_request_id_that_results_tell(scripted_server, connect, fault):
    scripted_server.script = [edit(), edit(), PARSE, fault(*OVERLOADED), MASK, edit(), fault(*OVERLOADED), edit()]
    with connect(scripted_server.grpc_url) as client:
        results = [client.replace(b"x", "y"), client.replace(b"x", "y", request_id="mine"), client.parse("y")]
        results.append(client.mask(b"x", "dog"))
        results += [list(client.replace_stream(b"x", "y", request_id=name))[-1] for name in ("streamed", None)]
    sent = scripted_server.request_ids
    assert [result.request_id for result in results] == [*sent[:3], *sent[4:6], sent[7]]
    assert (sent[1], sent[5]) == ("mine", "streamed")
    assert (sent[3], sent[6]) == (sent[4], sent[7])  # a retry is the same request
    assert len(set(sent)) == 6
    assert len(sent[0]) == 32
    assert results[0] == results[1]  # the same edit, whatever it was called
    assert results[0].summary()["request_id"] == sent[0]


@pytest.mark.parametrize("request_id", [None, "mine"])
def test_an_error_tells_its_request_id(scripted_server, connect, fault, request_id):
    scripted_server.script = [fault(grpc.StatusCode.INTERNAL, "internal: it failed.")]
    with connect(scripted_server.grpc_url) as client:
        for call in (client.replace, lambda *a, **k: list(client.replace_stream(*a, **k))):
            with pytest.raises(recast.InternalError) as error:
                call(b"x", "y", request_id=request_id)
            assert error.value.request_id == scripted_server.request_ids[-1]
            assert request_id in (None, error.value.request_id)


def test_an_inference_carries_the_trace_context_of_the_environment(scripted_server, connect, monkeypatch):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url) as client:
        client.replace(b"x", "y")
        monkeypatch.setenv("TRACEPARENT", "00-aa-bb-01")
        client.replace(b"x", "y")
        list(client.replace_stream(b"x", "y"))
    assert [headers.get("traceparent") for headers in scripted_server.headers] == [None, "00-aa-bb-01", "00-aa-bb-01"]


def test_an_opentelemetry_span_goes_before_the_environment(scripted_server, connect, monkeypatch):
    class Propagate:
        @staticmethod
        def inject(carrier):
            carrier.update(traceparent="00-cc-dd-01", tracestate="a=b", baggage="user=secret")

    monkeypatch.setenv("TRACEPARENT", "00-aa-bb-01")
    monkeypatch.setattr(tracing, "propagate", Propagate)
    scripted_server.script = [PARSE]
    with connect(scripted_server.grpc_url) as client:
        client.parse("y")
    headers = scripted_server.headers[0]
    assert (headers["traceparent"], headers["tracestate"]) == ("00-cc-dd-01", "a=b")
    assert "baggage" not in headers


def test_parse_and_mask(scripted_server, connect):
    scripted_server.script = [PARSE, MASK]
    with connect(scripted_server.grpc_url) as client:
        understood = client.parse("get rid of the dog")
        found = client.mask(b"x", "dog", intent="remove")
    assert (understood.intent, understood.target, understood.caption) == ("remove", "dog", "empty background")
    assert scripted_server.calls[1][0] == "mask"
    assert set(scripted_server.calls[1][1]) == {"image", "target", "intent"}
    assert found.mask_png == picture(255)
    assert found.object_mask_png == picture(200)
    assert found.mask_score == 0.5


def test_status(scripted_server, connect):
    with connect(scripted_server.grpc_url) as client:
        status = client.status()
        assert status.ready
        assert status.server == "triton 2.51.0"
        assert status.steps["mask"].releases == (1, 2)
        del scripted_server.models["replace"]
        assert not client.status().ready


@pytest.mark.parametrize("options", [{"seed": 2**63}, {"num_images": 2**31}])
def test_option_that_does_not_fit_is_refused(scripted_server, connect, options):
    with connect(scripted_server.grpc_url) as client:
        with pytest.raises(recast.InvalidOption, match="bits"):
            client.replace(b"x", "y", **options)
        with pytest.raises(TypeError):
            client.replace(b"x", "y", num_inference_steps=2.5)
        with pytest.raises(recast.InvalidPrompt, match="Unicode"):
            client.parse("\udcff")
    assert scripted_server.calls == []


def test_overloaded_is_tried_again(scripted_server, connect, fault):
    queue = fault(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    scripted_server.script = [fault(*OVERLOADED), queue, edit()]
    with connect(scripted_server.grpc_url) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 3


def test_overloaded_gives_up_after_its_retries(scripted_server, connect, fault):
    scripted_server.script = [fault(*OVERLOADED)]
    with connect(scripted_server.grpc_url, retries=2) as client:
        with pytest.raises(recast.Overloaded, match="queue is full"):
            client.replace(b"x", "y")
    assert len(scripted_server.calls) == 3


def test_overloaded_gives_up_before_its_deadline(scripted_server, connect, fault, monkeypatch):
    monkeypatch.setattr(conversation, "FIRST_PAUSE", 0.3)
    scripted_server.script = [fault(*OVERLOADED)]
    start = time.monotonic()
    with (
        connect(scripted_server.grpc_url, timeout=0.5, retries=50) as client,
        pytest.raises(recast.Overloaded),
    ):
        client.replace(b"x", "y")
    assert time.monotonic() - start < 5


LOST = (grpc.StatusCode.INTERNAL, "in ensemble 'replace', Stub process 'parse_0_0' is not healthy.")
AWAY = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'replace' has no available versions")


def test_a_lost_call_is_tried_again(scripted_server, connect, fault):
    scripted_server.script = [fault(*LOST), fault(*LOST), edit()]
    with connect(scripted_server.grpc_url, retries=2) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 3


def test_an_edit_that_ends_processes_is_given_up_after_the_retries(scripted_server, connect, fault):
    scripted_server.script = [fault(*LOST)]
    with connect(scripted_server.grpc_url, retries=2) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 3


def test_a_server_that_is_away_is_waited_for_beyond_the_retries(scripted_server, connect, fault):
    scripted_server.script = [*[fault(*AWAY)] * 4, edit()]
    with connect(scripted_server.grpc_url, retries=1) as client:
        assert client.replace(b"x", "y").seed == 7
    assert len(scripted_server.calls) == 5


def test_a_server_that_stays_away_fails_typed_before_the_deadline(scripted_server, connect, fault):
    scripted_server.script = [fault(*AWAY)]
    start = time.monotonic()
    with connect(scripted_server.grpc_url, timeout=0.5) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("answer", [LOST, AWAY])
def test_without_retries_a_restart_is_told_at_once(scripted_server, connect, fault, answer):
    scripted_server.script = [fault(*answer)]
    with connect(scripted_server.grpc_url, retries=0) as client, pytest.raises(recast.Restarting):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 1


def test_a_server_that_ends_after_an_answer_is_waited_for(scripted_server, connect):
    scripted_server.script = [edit()]
    with connect(scripted_server.grpc_url, timeout=1) as client:
        client.replace(b"x", "y")
        scripted_server.stop()
        with pytest.raises(recast.Restarting, match="away"):
            client.replace(b"x", "y")
        with pytest.raises(recast.Restarting, match="away"):
            client.replace(b"x", "y", timeout=0.1)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("UNAVAILABLE", "This protocol is restricted", recast.AccessDenied),
        ("NOT_FOUND", "in ensemble 'replace', object_not_found: no unicorn here.", recast.ObjectNotFound),
        ("INVALID_ARGUMENT", "invalid_image: not a picture.", recast.InvalidImage),
        ("INTERNAL", "internal: the server failed on this request.", recast.InternalError),
    ],
)
def test_no_other_error_is_tried_again(scripted_server, connect, fault, code, message, kind):
    scripted_server.script = [fault(grpc.StatusCode[code], message)]
    with connect(scripted_server.grpc_url) as client, pytest.raises(kind):
        client.replace(b"x", "y")
    assert len(scripted_server.calls) == 1


def test_deadline(scripted_server, connect):
    scripted_server.script = [0.5]
    with connect(scripted_server.grpc_url) as client, pytest.raises(recast.DeadlineExceeded, match=r"0\.1 s"):
        client.replace(b"x", "y", timeout=0.1)


def test_answer_without_an_output_is_internal(scripted_server, connect):
    scripted_server.script = [PARSE]
    with connect(scripted_server.grpc_url) as client:
        with pytest.raises(recast.InternalError, match="edited_image"):
            client.replace(b"x", "y")


def test_nobody_there(connect):
    with connect("localhost:1", timeout=5) as client:
        for ask in (client.status, lambda: client.parse("x")):
            with pytest.raises(recast.ServerUnavailable, match="make serve"):
                ask()


def test_a_message_beyond_grpcs_own_limit_passes(scripted_server, connect):
    large = bytes(6 << 20)
    scripted_server.script = [lambda model, inputs: {**edit(), "edited_image": inputs["image"]}]
    with connect(scripted_server.grpc_url) as client:
        assert client.replace(large, "y").png == large


def test_threads_share_a_client(scripted_server):
    scripted_server.script = [lambda model, inputs: edit(seed=int(inputs["seed"].item()))]
    barrier = threading.Barrier(8)

    def ask(seed: int) -> int:
        barrier.wait()
        return client.replace(b"x", "y", seed=seed).seed

    with recast.Client(scripted_server.grpc_url) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == list(range(40))


def test_tasks_share_a_client(scripted_server):
    scripted_server.script = [lambda model, inputs: edit(seed=int(inputs["seed"].item()))]

    async def ask() -> list[int]:
        async with recast.AsyncClient(scripted_server.grpc_url) as client:
            edits = await asyncio.gather(*[client.replace(b"x", "y", seed=seed) for seed in range(20)])
            return [result.seed for result in edits]

    assert asyncio.run(ask()) == list(range(20))
