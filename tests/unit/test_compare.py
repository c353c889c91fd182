"""What `make bench` makes of its measurements, with systems that only wait."""

import time
from dataclasses import replace

import pytest

from benchmarks.compare import __main__ as compare
from benchmarks.compare import loops, tables
from benchmarks.compare.edits import Edits
from benchmarks.compare.loops import System, closed_loop, in_turn, open_loop, poisson, rate
from benchmarks.compare.sections import SECTIONS, Bench, stable
from benchmarks.compare.tables import Row, Target, compared
from benchmarks.rivals.request import Request
from serving.errors import EditError

pytestmark = pytest.mark.slow


class Requests:
    """Stands for `Edits`: as many as are wanted, without pictures."""

    def __getitem__(self, index: int) -> Request:
        return Request(b"", "", index, 20, 4.0)


def waiting(name: str, seconds: float, most_clients: int | None = None, refuses: int = 1 << 30) -> System:
    def edit(request: Request) -> bytes:
        time.sleep(seconds)
        if request.seed % refuses == refuses - 1:
            raise EditError("object_not_found", "no car.")
        return b""

    return System(name, edit, most_clients)


def test_rate_of_answers_in_batches_does_not_depend_on_where_the_window_lies():
    batches = [second + 0.001 * i for second in range(2, 40, 2) for i in range(8)]  # 4 a second
    for opened in (4.1, 5.0, 5.9):
        assert rate(batches, opened, opened + 20)[0] == pytest.approx(4)


def test_rate_without_an_answer_in_the_window_is_an_error():
    with pytest.raises(ValueError, match="measure longer"):
        rate([1.0, 2.0], opened=2.5, closed=4)


def test_closed_loop_counts_every_client_and_no_refusal():
    measured = closed_loop(waiting("a", 0.05, refuses=4), Requests(), clients=4, seconds=1)
    assert measured["rate"] == pytest.approx(4 / 0.05 * 3 / 4, rel=0.5)
    assert measured["refused"] == pytest.approx(measured["asked"] / 4, abs=2)


def test_closed_loop_keeps_to_the_clients_that_a_system_takes():
    measured = closed_loop(waiting("notebook", 0.05, most_clients=1), Requests(), clients=4, seconds=1)
    assert measured["rate"] == pytest.approx(20, rel=0.5)


def test_closed_loop_passes_an_error_on():
    def broken(request: Request) -> bytes:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        closed_loop(System("a", broken), Requests(), clients=2, seconds=30)


def test_systems_take_turns_and_another_begins_every_time():
    order = []
    systems = [System(name, lambda request, name=name: order.append(name) or b"") for name in "abc"]
    seconds = in_turn(systems, Requests(), 3)
    assert "".join(order) == "abcbcacab"
    assert [len(seconds[name]) for name in "abc"] == [3, 3, 3]


def test_open_loop_counts_latency_from_the_arrival():
    measured = open_loop(waiting("a", 0.2), Requests(), [0.0, 0.05, 0.1], 0.15)
    assert len(measured["latencies"]) == 3
    assert all(0.2 <= latency < 2 for latency in measured["latencies"])
    assert measured["left"] == 3


def test_poisson_arrivals_are_as_many_as_asked_for_and_the_same_again():
    arrivals = poisson(2.5, 60, seed=1)
    assert len(arrivals) == 150
    assert arrivals == sorted(arrivals)
    assert arrivals == poisson(2.5, 60, seed=1) != poisson(2.5, 60, seed=2)


@pytest.mark.parametrize(
    ("last", "left", "expected"), [(1.2, 0, True), (3.0, 1, True), (1.2, 6, True), (3.0, 6, False)]
)
def test_a_queue_grows_where_edits_wait_longer_and_longer_and_many_are_left(last, left, expected):
    assert stable({"latencies": [1.0] * 10 + [1.5] * 10 + [last] * 10, "left": left}) is expected


def test_ratio_is_taken_within_each_repeat():
    row = compared("edits a second", [4.0, 2.0, 6.0], "tutorial", [2.0, 2.0, 2.0], Target("≥", 2))
    assert (row.recast, row.rivals, row.ratio, row.met) == ("4.00", "2.00", "2.00 (1.00 … 3.00)", "yes")
    slowing = compared("edits a second", [4.0, 2.0], "tutorial", [2.0, 1.0])
    assert slowing.ratio == "2.00 (2.00 … 2.00)"  # the machine slowed down, not Recast


@pytest.mark.parametrize(("target", "met"), [(Target("≥", 2), "**no**"), (Target("≤", 2), "yes")])
def test_a_target_that_is_missed_is_called_so(target, met):
    assert compared("x", [1.9], "tutorial", [1.0], target).met == met


def test_only_what_stands_between_the_markers_is_renewed():
    page = f"before\n{tables.BEGIN}\nold\n| table |\n{tables.END}\nafter\n"
    renewed = tables.renewed(page, r"new \1")
    assert renewed == f"before\n{tables.BEGIN}\nnew \\1\n{tables.END}\nafter\n"
    assert tables.renewed(renewed, "old\n| table |") == page
    with pytest.raises(ValueError, match="0 places"):
        tables.renewed("no markers", "new")


def test_every_section_is_measured_and_reported(monkeypatch):
    monkeypatch.setattr(loops, "SETTLE", 0.02)
    monkeypatch.setattr(Bench, "fresh", lambda bench, steps, count: Requests())
    speeds = {"recast": 0.005, "notebook": 0.01, "tutorial": 0.01, "batching": 0.01}
    systems = [waiting(name, seconds, 1 if name == "notebook" else None) for name, seconds in speeds.items()]
    options = replace(compare.QUICK, repeats=2, seconds=0.2, open_seconds=0.3, edits=3)
    bench = Bench(systems, options)
    compare.measure(bench)
    assert [len(bench.results[section.name]) for section in SECTIONS] == [1 if s.once else 2 for s in SECTIONS]
    rows = compare.rows(bench)
    assert {row.rival for row in rows} == {"notebook", "tutorial", "batching"}
    quicker = next(row for row in rows if row.measured.startswith("one client") and row.rival == "notebook")
    assert quicker.met == "yes"
    document = {
        "machine": compare.machine(),
        "versions": {"torch": "2"},
        "precision": {"chosen": "bf16", "seconds": {"fp32": 0.4, "bf16": 0.3}},
        "sections": bench.results,
        "table": [vars(row) for row in rows],
    }
    report = compare.report(document)
    assert report.startswith(tables.markdown(rows))
    assert "recast 0.0%" in report
    assert tables.BEGIN in compare.README.read_text()


def test_edits_are_the_same_again_and_no_picture_or_sentence_comes_twice():
    first, again, other = Edits(1, [8, 20, 50]), Edits(1, [8, 20, 50]), Edits(2, [20])
    requests = [first[i] for i in range(12)]
    assert requests == [again[i] for i in range(12)]
    everything = [*requests, *(other[i] for i in range(12))]
    assert len({request.prompt for request in everything}) == len({request.image for request in everything}) == 24
    assert all(sorted(request.num_inference_steps for request in requests[i : i + 3]) == [8, 20, 50] for i in (0, 3, 6))


def test_table_has_a_line_a_row():
    lines = tables.markdown([Row("a", "1", "tutorial", "2"), Row("b", "1", "tutorial", "2", "0.50")]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {8}
