"""The Locust file against the real server: both loops, and failures counted by their names."""

import csv

import pytest

from benchmarks import load


@pytest.fixture
def locust(server, tmp_path, monkeypatch):
    """Runs Locust for a few seconds; its status and the rows of a CSV file, "stats" or "failures", by name."""
    monkeypatch.setattr(load, "OUT", tmp_path)

    def run(*more: str, table: str = "stats"):
        status = load.run_locust(server.grpc_url, 2, 6, ["--steps", "2", *more])
        with (tmp_path / f"load_{table}.csv").open() as file:
            return status, {row["Name"]: row for row in csv.DictReader(file)}

    return run


@pytest.mark.parametrize("loop", [[], ["--arrivals", "3"]], ids=["closed", "open"])
def test_both_loops_edit_without_failure_and_tell_the_steps_apart(locust, loop):
    status, rows = locust(*loop)
    assert status == 0
    assert {"replace", "parse", "mask", "inpaint"} <= set(rows)
    assert int(rows["replace"]["Request Count"]) >= 3
    assert all(int(row["Failure Count"]) == 0 for row in rows.values())
    assert float(rows["inpaint"]["Average Response Time"]) < float(rows["replace"]["Average Response Time"])


def test_failures_are_counted_by_name(locust):
    status, rows = locust("--deadline", "0.02", table="failures")
    assert status != 0
    assert rows["replace"]["Error"] == "Failure('deadline_exceeded')"


def test_batches_come_from_the_servers_statistics(server, scenes):
    batches = load.batch_sizes(server.http_url)
    assert sum(batches.values()) > 0
    assert all(1 <= rows <= 16 for rows in batches)
