"""An inpaint request from its files to its outputs, on networks that are functions of a line."""

import dataclasses
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from serving.diffusion.denoise import Progress
from serving.diffusion.inpaint import InpaintResult, inpaint, result_of
from serving.diffusion.options import Options
from serving.errors import EditError
from serving.steps import inpaint as step
from serving.steps import replace_stream, tensors
from serving.steps.tensors import bytes_tensor
from tests.unit.inpaint_release import SIZE, Networks, png, write

OPTIONS = Options(seed=7, num_inference_steps=5, guidance_scale=4.0, num_images=2)
IMAGE = png(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
MASK = png(np.pad(np.full((12, 12), 255, np.uint8), ((10, 18), (10, 28))))
OUTLINE = png(np.pad(np.full((6, 6), 255, np.uint8), ((13, 21), (13, 31))))


class Counts:
    """`Metrics` that keeps what it is told."""

    def __init__(self):
        self.counted, self.observed = {}, {}

    def count(self, name, amount=1):
        self.counted[name.removeprefix("recast_")] = self.counted.get(name, 0) + amount

    def observe(self, name, value):
        self.observed[name] = value


class Request:
    """A Triton request with `inputs` by name."""

    def __init__(self, **inputs):
        self.inputs = {name: np.array([[value]], object) if isinstance(value, bytes) else np.array([[value]])
                       for name, value in inputs.items()}  # fmt: skip

    def parameters(self):
        return ""


@pytest.fixture
def pipeline(tmp_path):
    write(tmp_path)
    made = step.InpaintPipeline(tmp_path, 3, "inpaint")
    made.metrics = Counts()
    return made


@pytest.fixture
def wanted():
    return step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent="replace", replacement="boat", options=OPTIONS
    )


@pytest.fixture
def triton(monkeypatch):
    """Requests whose inputs the steps read, and what answers their calls."""
    networks = Networks()
    given = SimpleNamespace(
        get_input_tensor_by_name=lambda request, name: (
            SimpleNamespace(as_numpy=lambda: request.inputs[name]) if name in request.inputs else None
        )
    )
    monkeypatch.setattr(tensors, "pb_utils", given)
    monkeypatch.setattr(step, "Caller", lambda request, deadline: networks)
    return networks


def test_each_denoising_step_is_told_and_the_result_comes_last(pipeline, wanted):
    *told, result = inpaint(pipeline.assets, Networks().infer, wanted)
    assert [(progress.step, progress.steps) for progress in told] == [(n, 5) for n in (1, 2, 3, 4, 5)]
    assert {progress.denoised.shape for progress in told} == {(2, 4, SIZE // 8, SIZE // 8)}
    assert [image.size for image in result.images] == [(50, 40)] * 2
    assert result.background_difference == 0
    assert result.blended_mask.any()
    again = result_of(inpaint(pipeline.assets, Networks().infer, wanted))
    np.testing.assert_array_equal(again.blended_mask, result.blended_mask)


def test_a_whole_run_counts_every_denoising_step(pipeline, wanted):
    assert isinstance(list(pipeline.run(wanted, Networks(), None, {}))[-1], InpaintResult)
    assert pipeline.metrics.counted == {"denoising_steps_total": 5, "cancelled_steps_total": 0}


def test_a_caller_who_leaves_spares_the_steps_that_are_left(pipeline, wanted):
    networks = Networks()
    events = pipeline.run(wanted, networks, None, {})
    assert [next(events).step for _ in range(3)] == [1, 2, 3]
    events.close()
    assert networks.called.count("unet") == 3
    assert pipeline.metrics.counted == {"denoising_steps_total": 3, "cancelled_steps_total": 2}


def test_a_denoising_step_that_fails_is_not_counted_as_done(pipeline, wanted):
    with pytest.raises(EditError, match="cancelled"):
        list(pipeline.run(wanted, Networks(fails=("unet", 3)), None, {}))
    assert pipeline.metrics.counted == {"denoising_steps_total": 2, "cancelled_steps_total": 3}


def test_a_failure_before_the_first_denoising_step_counts_none(pipeline, wanted):
    with pytest.raises(EditError, match="cancelled"):
        list(pipeline.run(wanted, Networks(fails=("vae_encoder", 1)), None, {}))
    assert pipeline.metrics.counted == {}


def test_a_text_is_encoded_once(pipeline, wanted):
    networks = Networks()
    for _ in range(2):
        result_of(pipeline.run(wanted, networks, None, {}))
    assert networks.called.count("text_encoder") == 2  # the caption, and the empty one that guides away from it
    assert networks.versions == {3}


def test_a_preview_is_a_small_jpeg(pipeline, wanted):
    progress = next(pipeline.run(wanted, Networks(), None, {}))
    preview = Image.open(io.BytesIO(pipeline.preview(progress, 24, Networks())))
    assert (preview.format, preview.size) == ("JPEG", (24, 24))


@pytest.mark.parametrize(("intent", "kept"), [("replace", True), ("remove", True), ("", True), ("recolour", False)])
def test_the_old_object_counts_unless_the_whole_mask_is_painted(intent, kept):
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent=intent, replacement="wooden", options=OPTIONS
    )
    assert (request.object_mask is not None) is kept


@pytest.mark.parametrize(("intent", "steps"), [("replace", 10), ("remove", 10), ("", 10), ("recolour", 6)])
def test_the_intent_says_how_far_from_the_picture_a_request_goes_that_does_not(pipeline, intent, steps):
    options = Options(seed=7, num_inference_steps=10, guidance_scale=4.0)
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent=intent, replacement="wooden", options=options
    )
    assert next(pipeline.run(request, Networks(), None, {})).steps == steps


def test_a_strength_starts_from_the_picture_and_does_its_share_of_the_denoising_steps(pipeline):
    networks = Networks()
    options = Options(seed=7, num_inference_steps=10, guidance_scale=4.0, num_images=2, strength=0.45)
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent="recolour", replacement="red", options=options
    )
    *told, _ = pipeline.run(request, networks, None, {})
    assert [(progress.step, progress.steps) for progress in told] == [(n, 4) for n in (1, 2, 3, 4)]
    assert networks.called.count("vae_encoder") == 2
    assert pipeline.metrics.counted == {"denoising_steps_total": 4, "cancelled_steps_total": 0}


@pytest.mark.parametrize(("replacement", "strength", "painted"), [("wooden", None, True), ("red", 0.5, True),
                                                                  ("striped", None, False)])  # fmt: skip
def test_a_loop_from_the_picture_starts_from_the_object_in_the_colour_asked_for(
    pipeline, replacement, strength, painted
):
    encoded, networks = [], Networks()

    def infer(network, inputs, outputs):
        encoded.extend([inputs["sample"]] if network == "vae_encoder" else [])
        return networks.infer(network, inputs, outputs)

    options = Options(seed=7, num_inference_steps=5, guidance_scale=4.0, strength=strength)
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent="recolour", replacement=replacement, options=options
    )
    result_of(inpaint(pipeline.assets, infer, request))
    result_of(inpaint(pipeline.assets, infer, dataclasses.replace(request, underpaint=None)))
    masked, start, _, plain = encoded
    outside = masked == plain
    np.testing.assert_array_equal(start[outside], plain[outside])
    assert np.array_equal(start, plain) is not painted


def test_a_recolour_to_a_colour_asks_no_network_and_counts_no_denoising_step(pipeline):
    networks = Networks()
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a red boat", intent="recolour", replacement="#C0392B", options=OPTIONS
    )
    assert request.paint == (0xC0, 0x39, 0x2B)
    (result,) = pipeline.run(request, networks, None, {})
    assert networks.called == []
    assert pipeline.metrics.counted == {}
    assert result.background_difference == 0
    assert result.blended_mask.any()
    one, other = result.images
    assert not np.array_equal(one.pixels, request.image.pixels)
    np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("intent", "replacement", "strength"),
    [("recolour", "wooden", None), ("replace", "red", None), ("", "red", None), ("recolour", "red", 0.5)],
)
def test_what_is_no_paint_or_has_a_strength_is_the_diffusion_model_s(intent, replacement, strength):
    options = Options(seed=7, num_inference_steps=5, guidance_scale=4.0, strength=strength)
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a boat", intent=intent, replacement=replacement, options=options
    )
    assert request.paint is None


def test_a_recolour_that_nobody_waits_for_is_not_begun(pipeline):
    request = step.read_request(
        IMAGE, MASK, OUTLINE, caption="a red boat", intent="recolour", replacement="red", options=OPTIONS
    )
    with pytest.raises(EditError, match="cancelled"):
        list(pipeline.run(request, Networks(gone=True), None, {}))


def test_an_endless_target_is_an_error():
    with pytest.raises(EditError, match="invalid_prompt: the target is too long"):
        step.read_wish("replace", "x" * 10_000, "a boat", "boat")


@pytest.mark.parametrize("name", ["caption", "replacement"])
def test_endless_words_are_an_error(name):
    words = {"caption": "", "replacement": "", name: "x" * 10_000}
    with pytest.raises(EditError, match=f"invalid_prompt: the {name} is too long"):
        step.read_request(IMAGE, MASK, None, intent="", options=OPTIONS, **words)


@pytest.mark.parametrize("intent", [{}, {"intent": b""}, {"intent": b"replace"}])
def test_the_step_answers_with_pictures_mask_seeds_and_report(pipeline, triton, intent):
    model = step.TritonPythonModel()
    model.pipeline = pipeline
    request = Request(image=IMAGE, mask_image=MASK, caption=b"a boat", seed=5, num_images=2, **intent)
    outputs = model.respond(request)
    assert outputs["used_seed"].tolist() == [[5, 6]]
    assert outputs["edit_score"].item() == step.UNSEEN
    assert json.loads(outputs["report"].item())["attempts"] == [1, 1]
    assert outputs["edited_image"].shape == (1, 2)
    assert b'"releases": {"inpaint": 3}' in outputs["report"].item()
    assert 0 < pipeline.metrics.observed["recast_mask_area_ratio"] < 0.2


def test_an_unknown_intent_is_an_error_that_names_the_known_ones(pipeline, triton):
    model = step.TritonPythonModel()
    model.pipeline = pipeline
    request = Request(image=IMAGE, mask_image=MASK, caption=b"a boat", intent=b"recolor")
    with pytest.raises(EditError, match="intent 'recolor' is unknown; known: replace, recolour, remove") as caught:
        model.respond(request)
    assert caught.value.name == "invalid_option"
    assert triton.called == []


@pytest.fixture
def stream(pipeline, triton):
    """replace_stream on release 3, and the answers of the steps that it calls."""
    model = replace_stream.TritonPythonModel()
    model.pipelines, model.canary = {3: pipeline}, SimpleNamespace(release_for=lambda key: 3)
    parsed = {"intent": "replace", "target": "boat", "replacement": "red car", "caption": "a red car",
              "parse_score": "1", "parse_report": "{}"}  # fmt: skip
    masked = {"mask_image": MASK, "object_mask": OUTLINE, "mask_score": "1", "mask_report": "{}"}
    triton.steps = {
        "admit": {},
        "parse": {name: bytes_tensor(value) for name, value in parsed.items()},
        "mask": {name: bytes_tensor(value) for name, value in masked.items()},
    }
    return model


def test_a_stream_tells_each_stage_and_ends_with_the_edit(stream, triton):
    request = Request(image=IMAGE, prompt=b"turn the boat into a red car", num_inference_steps=2, preview_side=16)
    *told, last = stream.respond_each(request, triton)
    stages = [(outputs["stage"].item(), outputs["step"].item(), outputs["steps"].item()) for outputs, _ in told]
    assert stages == [(b"parse", 1, 1), (b"mask", 1, 1), (b"inpaint", 1, 2), (b"inpaint", 2, 2)]
    assert [final for _, final in (*told, last)] == [False] * 4 + [True]
    assert ["preview" in outputs for outputs, _ in told] == [False, False, True, True]
    assert last.outputs.keys() == {"edited_image", "mask_image", "edit_score", "used_seed", "report", "mask_score",
                                   "intent", "target", "replacement", "parse_score"}  # fmt: skip


def test_a_stream_of_a_recolour_to_a_colour_has_no_denoising_to_tell_of(stream, triton):
    triton.steps["parse"] |= {"intent": bytes_tensor("recolour"), "replacement": bytes_tensor("dark green")}
    request = Request(image=IMAGE, prompt=b"make the boat dark green", preview_side=16)
    *told, last = stream.respond_each(request, triton)
    assert [outputs["stage"].item() for outputs, _ in told] == [b"parse", b"mask"]
    assert (last.final, triton.called) == (True, [])
    assert last.outputs["edited_image"].shape == (1, 1)


def test_a_preview_that_nobody_waits_for_ends_the_denoising_at_once(stream, triton, pipeline):
    triton.fails = ("vae_decoder", 2)
    request = Request(image=IMAGE, prompt=b"turn the boat into a red car", num_inference_steps=9, preview_side=16)
    with pytest.raises(EditError, match="cancelled") as caught:
        list(stream.respond_each(request, triton))
    assert caught.value.__traceback__ is not None  # it holds the frames, which must not put the counting off
    assert pipeline.metrics.counted == {"denoising_steps_total": 2, "cancelled_steps_total": 7}


def test_progress_tells_the_latents_that_the_model_foresees(pipeline, wanted):
    progress = next(pipeline.run(wanted, Networks(), None, {}))
    assert isinstance(progress, Progress)
    assert not np.array_equal(progress.sample, progress.denoised)
