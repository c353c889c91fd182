"""What is logged and counted of an edit."""

import shlex
import time

import numpy as np
import pytest

from serving.errors import EditError
from serving.steps import edit_log
from serving.steps.edit_log import EditLog
from serving.steps.metrics import FAMILIES
from serving.triton_errors import CallFailure

SECRET = "the user's own words"


class Recorder:
    """In place of `pb_utils.Logger` and of Metrics: what was said and counted."""

    def __init__(self):
        self.lines, self.counted = [], []

    def __getattr__(self, name):
        kind = name.removeprefix("log_")
        if kind != name:
            return lambda text: self.lines.append((kind, text))
        return lambda *arguments, **labels: self.counted.append((name, *arguments, labels))


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(edit_log, "Metrics", lambda step, release: recorder)
    return recorder


def note(recorder, answer, request_id="r1", intent="replace"):
    log = EditLog("inpaint", 3, recorder)
    recorder.counted.clear()
    log.note(request_id, intent, answer, time.perf_counter())
    return [(kind, fields(line)) for kind, line in recorder.lines]


def fields(line):
    name, *pairs = shlex.split(line.splitlines()[0])
    assert name == "recast"
    return dict(pair.split("=", 1) for pair in pairs)


def failed(cause=None):
    error = EditError("internal", "it failed.")
    error.__cause__ = cause
    return error


def test_a_finished_edit_is_one_line_and_one_count(recorder):
    ((kind, line),) = note(recorder, {"edited_image": np.array([[b"png"]], object)})
    assert kind == "info"
    assert float(line.pop("milliseconds")) >= 0
    assert line == {"step": "inpaint", "release": "3", "request_id": "r1", "intent": "replace", "outcome": "ok"}
    assert recorder.counted == [("count", "recast_edits_total", {"intent": "replace", "outcome": "ok", "release": "3"})]


def test_an_edit_is_counted_for_the_release_that_painted_it(recorder):
    report = np.array([[b'{"releases": {"inpaint": 4}}']], object)
    ((_, line),) = note(recorder, {"edited_image": np.array([[b"png"]], object), "report": report})
    assert line["release"] == recorder.counted[0][2]["release"] == "4"


@pytest.mark.parametrize(("report", "score", "told"), [
    (b'{"attempts": [1, 3], "edit_scores": [0.9, 0.4]}', 0.4, {"attempts": "4", "edit_score": "0.4"}),
    (b'{"attempts": [1], "edit_scores": []}', -1, {"attempts": "1"}),
])  # fmt: skip
def test_an_edit_tells_its_attempts_and_the_score_that_it_has(recorder, report, score, told):
    outputs = {"edited_image": np.array([[b"png"]], object), "report": np.array([[report]], object)}
    ((_, line),) = note(recorder, {**outputs, "edit_score": np.array([[score]])})
    assert {name: line[name] for name in ("attempts", "edit_score") if name in line} == told
    observed = [entry[1:3] for entry in recorder.counted if entry[0] == "observe"]
    assert observed == ([("recast_edit_score", score)] if score >= 0 else [])


def test_an_answer_that_ends_no_edit_has_its_score_observed_and_no_line(recorder):
    assert note(recorder, {"mask_score": np.array([[0.5]], np.float32)}) == []
    assert recorder.counted == [("observe", "recast_mask_score", 0.5, {})]


def test_an_error_is_a_line_with_its_name_and_without_its_sentence(recorder):
    ((kind, line),) = note(recorder, EditError("object_not_found", f"no {SECRET} here."))
    assert (kind, line["outcome"]) == ("info", "object_not_found")
    assert SECRET not in recorder.lines[0][1]


def test_what_another_step_has_noted_is_not_noted_again(recorder):
    error = EditError("object_not_found", "nothing.")
    error.noted = True
    assert note(recorder, error) == []
    assert recorder.counted == []


def test_the_health_probe_is_no_edit(recorder, monkeypatch):
    monkeypatch.setattr(edit_log, "_PROBE_ID", "7f3a")
    assert note(recorder, EditError("object_not_found", "nothing."), request_id="7f3a") == []
    assert recorder.counted == []


@pytest.mark.parametrize("request_id", ["canary", "", "7f3"])
def test_what_is_no_health_probe_is_an_edit(recorder, monkeypatch, request_id):
    monkeypatch.setattr(edit_log, "_PROBE_ID", "7f3a")
    assert len(note(recorder, EditError("object_not_found", "nothing."), request_id=request_id)) == 1
    assert len(recorder.counted) == 1


def test_a_crash_tells_where_and_only_verbosely_what(recorder):
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        (kind, line), (second, more) = note(recorder, failed(error))
    assert (kind, second) == ("error", "verbose")
    assert line["error"] == "ValueError"
    assert line["at"].startswith("test_edit_log.py:")
    assert SECRET not in recorder.lines[0][1]
    assert SECRET in recorder.lines[1][1]
    assert more == {"request_id": "r1"}


def test_a_failed_call_tells_tritons_reason_without_paths(recorder):
    cause = CallFailure("unet", 3, 'no room in /opt/secret/models/unet/3/model.onnx for "x"\nTraceback: ...')
    (_, line), _ = note(recorder, failed(cause))
    assert line["reason"] == 'unet 3: no room in model.onnx for "x"'


def test_a_callers_id_and_intent_cannot_forge_a_line(recorder):
    ((_, line),) = note(recorder, failed(), request_id='a b\noutcome=ok "' + "x" * 100, intent="x outcome=ok")
    assert line["request_id"] == "a_b_outcome_ok__" + "x" * 48
    assert (line["outcome"], line["intent"]) == ("internal", "none")
    assert fields(recorder.lines[0][1])["request_id"] == line["request_id"]


def test_metrics_are_named_by_prometheus_conventions():
    for name, family in FAMILIES.items():
        assert name.startswith("recast_")
        assert name.endswith("_total") == (family.kind == "counter")
        assert (family.buckets is not None) == (family.kind == "histogram")
        assert family.buckets is None or family.buckets == sorted(set(family.buckets))
