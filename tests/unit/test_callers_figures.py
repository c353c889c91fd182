"""What `make callers` judges, and what it reads of a server's log."""

import pytest

from benchmarks import callers
from benchmarks.callers import missed, page, started_again

EARLY = {"answers": {"deadline_exceeded": 4}, "started again": {}, "its failures": []}
GOOD = {
    "our client": EARLY,
    "bare grpcio": {**EARLY, "started again": {"tritonserver": 14}},
    "long edits": {"answers": {"edit": 50, "overloaded": 50}, "started again": {}},
}


def test_a_server_that_outlives_its_callers_meets_the_targets():
    assert missed(GOOD) == []
    assert "All targets met" in page("Here.", GOOD)


@pytest.mark.parametrize(
    ("part", "bad", "told"),
    [
        ("our client", {"started again": {"tritonserver": 1}}, "our client made the server start again"),
        ("bare grpcio", {"its failures": ["restarting"]}, "bare grpcio: the patient client lost ['restarting']"),
        ("long edits", {"started again": {"inpaint": 1}}, "started again under long edits: {'inpaint': 1}"),
        ("long edits", {"answers": {"edit": 9, "restarting": 1}}, "1 restarting"),
    ],
)
def test_each_target_that_is_missed_is_told(part, bad, told):
    figures = {**GOOD, part: {**GOOD[part], **bad}}
    assert missed(figures) == [told]
    assert f"Missed: {told}." in page("Here.", figures)


def test_restarts_are_counted_as_the_supervisor_tells_them(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setattr(callers, "LOG", log)
    log.write_text(
        "recast: tritonserver: it was ended by SIGSEGV; started again in 9.5 s (restarts of tritonserver: 1)\n"
        "recast: 'unet': why; started again in 0.5 s (restarts of unet: 1)\n"
        "recast: tritonserver: it was ended by SIGSEGV; started again in 11.0 s (restarts of tritonserver: 2)\n"
    )
    assert started_again() == {"tritonserver": 2, "unet": 1}
    assert callers._away() == [9.5, 11.0]
