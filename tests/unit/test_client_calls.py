"""What both clients put on the wire and read from it, against a scripted server."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import recast
from recast.options import EditOptions, StreamOptions

from tests.unit.client_answers import MASK, OVERLOADED, PARSE, edit, picture


def test_replace_sends_and_reads_everything(scripted_server, connect):
    scripted_server.script = [edit(count=2)]
    with connect(scripted_server.grpc_url) as client:
        result = client.replace(
            b"file\x00\x00",
            "Replace the car with a bicycle",
            seed=-3,
            num_inference_steps=9,
            guidance_scale=2.5,
            strength=0.75,
            negative_prompt="",
            num_images=2,
            max_attempts=1,
        )
    model, inputs = scripted_server.calls[0]
    assert model == "replace"
    assert {name: (value.dtype, value.item()) for name, value in inputs.items()} == {
        "image": (np.dtype(object), b"file\x00\x00"),
        "prompt": (np.dtype(object), b"Replace the car with a bicycle"),
        "seed": (np.dtype(np.int64), -3),
        "num_inference_steps": (np.dtype(np.int32), 9),
        "guidance_scale": (np.dtype(np.float32), 2.5),
        "strength": (np.dtype(np.float32), 0.75),
        "negative_prompt": (np.dtype(object), b""),
        "num_images": (np.dtype(np.int32), 2),
        "max_attempts": (np.dtype(np.int32), 1),
    }
    assert all(value.shape == (1, 1) for value in inputs.values())
    assert (result.intent, result.target, result.replacement) == ("replace", "voiture à gauche", "bicycle")
    assert (result.parse_score, result.mask_score, result.edit_score) == (0.5, 0.25, 0.75)
    assert (result.seed, result.seeds) == (7, (7, 8))
    assert result.pngs == (picture(7), picture(8))
    assert result.pictures[1].getpixel((0, 0)) == (8, 0, 0)
    assert result.picture.size == result.mask.size
    assert json.loads(json.dumps(result.summary()))["report"] == {"milliseconds": {"parse": 1.5}}


def test_an_edit_that_nobody_looked_at_has_no_score(scripted_server, connect):
    scripted_server.script = [{**edit(), "edit_score": np.array([[-1]], np.float32)}]
    with connect(scripted_server.grpc_url) as client:
        result = client.replace(b"x", "y")
    assert result.edit_score is None
    assert result.summary()["edit_score"] is None


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


def test_an_unknown_option_is_a_type_error_before_anything_is_sent(scripted_server, connect):
    with connect(scripted_server.grpc_url) as client:
        for option in ("sed", "preview_side"):
            with pytest.raises(TypeError, match=option):
                client.replace(b"x", "y", **{option: 1})
    assert scripted_server.calls == []


@pytest.mark.parametrize("kind", [recast.Client, recast.AsyncClient])
def test_a_stream_refuses_an_unknown_option_before_its_first_step(kind):
    with pytest.raises(TypeError, match="sed"):
        kind("localhost:1").replace_stream(b"x", "y", sed=1)


def test_help_explains_every_option():
    assert all(f" {name} (" in recast.Client.replace.__doc__ for name in EditOptions.__annotations__)
    added = StreamOptions.__annotations__.keys() - EditOptions.__annotations__.keys()
    assert all(f" {name} (" in recast.Client.replace_stream.__doc__ for name in added)


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
