"""The load test's judgement, on runs made up to be steady, growing, failing."""

import csv
import json

import pytest

from benchmarks.load import __main__ as load
from benchmarks.load import results
from benchmarks.load.growth import SHM, Watch, owner, trend
from benchmarks.load.results import Moment, Result


def moments(latency=lambda second: 1.0, users=lambda second: 4, rate=2, seconds=600):
    return [
        Moment(1000 + t, users(t), rate * t, rate, latency(t), 2 * latency(t), 3 * latency(t)) for t in range(seconds)
    ]


def watch(memory=lambda second: 1000.0, shm=lambda second: 20.0):
    return Watch(0, [{"Timestamp": 1000 + t, SHM: shm(t), "memory": memory(t)} for t in range(0, 600, 2)])


def result(growth=(), failures=None):
    row = {"edits": 1200, "p50": 1.0, "p95": 2.0, "p99": 3.0, "longest": 4.0}
    return Result("CPU", "Locust", 2.5, {"replace": row}, failures or {}, growth, {2: 10})


def grown(*run):
    return [each.name for each in results.trends(*run) if each.grew]


def test_steady_run_did_not_grow():
    assert grown(moments(), watch()) == []


def test_growth_during_warm_up_is_none():
    warming = watch(memory=lambda t: 500 + 500 * min(1, t / 50), shm=lambda t: 10 if t < 50 else 20)
    assert grown(moments(lambda t: 9 if t < 50 else 1), warming) == []


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ((moments(lambda t: 1 + t / 300), watch()), "latency p50, s"),
        ((moments(), watch(memory=lambda t: 1000 + t / 5)), "memory, MB"),
        ((moments(), watch(shm=lambda t: 20 + t / 200)), f"{SHM}, MB"),
    ],
)
def test_leak_is_named(run, name):
    found = results.trends(*run)
    assert name in [each.name for each in found if each.grew]
    assert name.split(",")[0] in results.verdict(result(found))
    assert result(found).grew


def test_trend_compares_medians_of_thirds_after_the_warm_up():
    found = trend("memory", [(t, 5.0 if t < 10 else float(t)) for t in range(101)], limit=2.0)
    assert (found.first, found.last, found.grew) == (25.0, 85.0, True)


def test_memory_that_alternates_is_compared_at_its_upper_level():
    """Two releases are loaded for 0.4 of the run's first third, and for 0.6 of its last."""
    share = {0: 0.4, 1: 0.5, 2: 0.6}
    samples = [(t, 2000.0 if t % 100 < 100 * share[min(2, t // 1000)] else 1000.0) for t in range(3000)]
    assert trend("memory", samples, limit=1.03).grew
    assert not trend("memory", samples, 1.03, results.UPPER).grew


def test_trend_without_samples_is_an_error():
    with pytest.raises(ValueError, match="memory"):
        trend("memory", [], limit=1.0)


def test_throughput_leaves_out_warm_up_and_the_end_when_users_leave():
    run = moments(users=lambda t: 16 if t < 60 else 3, rate=5, seconds=70)
    slow_start = [Moment(**{**vars(each), "answered": max(0, each.answered - 30)}) for each in run]
    assert results.throughput(slow_start, warm_up=10) == pytest.approx(5)
    with pytest.raises(ValueError, match="no edit"):
        results.throughput([Moment(**{**vars(each), "answered": 7}) for each in run], warm_up=10)
    with pytest.raises(ValueError, match="no edit"):
        results.throughput([], warm_up=10)


@pytest.mark.parametrize(
    ("growth", "failures", "said"),
    [
        ([], {}, "growth takes 120 s to tell; no failure"),
        (results.trends(moments(), watch()), {}, "nothing grew; no failure"),
        (results.trends(moments(), watch()), {"overloaded": 3}, "nothing grew; failures: 3 overloaded"),
    ],
)
def test_verdict_in_words(growth, failures, said):
    assert results.verdict(result(growth, failures)) == said


def test_summary_is_written_as_page_and_document(tmp_path):
    load.write(result(results.trends(moments(), watch(memory=lambda t: 1000 + t)), {"overloaded": 3}), tmp_path, "load")
    page, document = (tmp_path / "load.md").read_text(), json.loads((tmp_path / "load.json").read_text())
    assert "| replace | 1200 | 1.00 | 2.00 | 3.00 | 4.00 |" in page
    assert "Grew: memory x 1.3" in page
    assert document["failures"] == {"overloaded": 3}
    assert document["batches"] == {"2": 10}


def test_history_is_of_edits_once_there_are_percentiles(tmp_path):
    columns = ["Timestamp", "User Count", "Name", "Requests/s", "50%", "95%", "99%"]
    columns += ["Total Request Count", "Total Failure Count"]
    rows = [
        [5, 2, "replace", 0, 0, 0, 0, 3, 0],
        [6, 2, "parse", 1, 9, 9, 9, 4, 0],
        [6, 2, "replace", 1, 800, 900, 990, 4, 1],
    ]
    with (tmp_path / "load_stats_history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    assert results.history(tmp_path, "load") == [Moment(6, 2, 3, 1, 0.8, 0.9, 0.99)]


@pytest.mark.parametrize(
    ("command", "model"),
    [
        (["/tmp/stub", "/models/inpaint/1/model.py", "shm_region", "1048576", "inpaint_0_2", "DEFAULT"], "inpaint"),
        (
            ["/tmp/stub", "/models/text_encoder/1/model.onnx", "text_encoder_0_0", "/backends/onnxruntime"],
            "text_encoder",
        ),
        (["/bin/tritonserver", "--model-repository=/models", "--grpc-port=8001"], "tritonserver"),
    ],
)
def test_owner_of_a_process(command, model):
    assert owner(command) == model
