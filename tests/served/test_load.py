"""The Locust file against the real server: loops, shapes, many processes, failures by name; the server's memory."""

import csv
import time

import pytest

from benchmarks.load import __main__ as load
from benchmarks.load import results
from benchmarks.load.growth import SHM, Watch

pytestmark = pytest.mark.slow


@pytest.fixture
def locust(server, tmp_path, monkeypatch):
    """Runs Locust for a few seconds; its status and the rows of a CSV file, "stats" or "failures", by name."""
    monkeypatch.setattr(load, "OUT", tmp_path)

    def run(*more: str, users: int = 2, table: str = "stats"):
        status = load.run_locust(server.grpc_url, users, 6, ["--steps", "2", *more])
        return status, {row["Name"]: row for row in results.rows(tmp_path / f"load_{table}.csv")}

    return run


@pytest.mark.parametrize("loop", [[], ["--arrivals", "3"]], ids=["closed", "open"])
def test_both_loops_edit_without_failure_and_tell_the_steps_apart(locust, loop):
    status, rows = locust(*loop)
    assert status == 0
    assert {"replace", "parse", "mask", "inpaint"} <= set(rows)
    assert int(rows["replace"]["Request Count"]) >= 3
    assert all(int(row["Failure Count"]) == 0 for row in rows.values())
    assert float(rows["inpaint"]["Average Response Time"]) < float(rows["replace"]["Average Response Time"])


def test_failures_are_counted_by_name(locust, tmp_path):
    status, rows = locust("--deadline", "0.02", "--arrivals", "2", table="failures")
    assert status != 0
    assert rows["replace"]["Error"] in ("Failure('deadline_exceeded')", "Failure('overloaded')")
    counted = results.failures(tmp_path, "load").keys()  # a machine that is busy refuses some before their time is up
    assert {"deadline_exceeded"} <= counted <= {"deadline_exceeded", "overloaded"}


def test_shape_changes_the_users(locust, tmp_path):
    status, rows = locust("--shape", "spike", users=5)
    assert status == 0
    assert int(rows["replace"]["Failure Count"]) == 0
    users = [int(row["User Count"]) for row in results.rows(tmp_path / "load_stats_history.csv")]
    assert users[-1] == 1
    assert max(users) == 5


def test_many_processes_share_the_arrivals(locust):
    """Each worker knows its own users only; 6 s at 6 a second are 36 edits, six more or less by chance."""
    status, rows = locust("--processes", "2", "--arrivals", "6", users=4)
    assert status == 0
    assert int(rows["replace"]["Failure Count"]) == 0
    assert 15 <= int(rows["replace"]["Request Count"]) <= 56


def test_capacity_is_what_a_closed_loop_reaches(server, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "OUT", tmp_path)
    monkeypatch.setattr(load, "CAPACITY_SECONDS", 7)
    monkeypatch.setattr(load, "CAPACITY_WARM_UP", 0)
    capacity = load.measured_capacity(server.grpc_url, ["--steps", "2"])
    (edits,) = (row for row in results.rows(tmp_path / "capacity_stats.csv") if row["Name"] == "replace")
    assert capacity == pytest.approx(float(edits["Requests/s"]), rel=0.5)


def test_batches_come_from_the_servers_statistics(server, scenes):
    batches = load.batch_sizes(server.http_url)
    assert sum(batches.values()) > 0
    assert all(1 <= rows <= 16 for rows in batches)


def test_memory_is_told_by_model(server, tmp_path):
    with Watch(server.pid) as watch:
        time.sleep(2.5)
    watch.write(tmp_path / "memory.csv")
    with (tmp_path / "memory.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 2
    models = {
        "admit",
        "inpaint",
        "mask",
        "parse",
        "replace_stream",
        "segmenter",
        "text_encoder",
        "tritonserver",
        "unet",
        "vae_decoder",
        "vae_encoder",
    }
    for row in rows:
        assert set(row) == {"Timestamp", "memory", SHM} | models
        assert all(10 < row[model] < 5000 for model in models)
        assert row["memory"] == pytest.approx(sum(row[model] for model in models), abs=1)
        assert row[SHM] >= 1
