"""What `make faults` judges."""

from benchmarks.faults import SERVER, missed, page

GOOD = {
    "back": {"parse": [8.0, 9.1], SERVER: [15.0, 59.0]},
    "edits": 90,
    "patient": {},
    "plain": {"restarting": 7},
    "megabytes": [900, 950, 1000, 1000, 1030],
    "steps after they left": [3, 4, 3, 4],
}


def test_all_that_comes_back_in_time_meets_the_targets():
    assert missed(GOOD) == []
    assert "All targets met" in page("Here.", GOOD, 100)


def test_each_target_that_is_missed_is_told():
    bad = {
        **GOOD,
        "back": {"parse": [8.0, 15.1], SERVER: [61.0]},
        "patient": {"restarting": 1},
        "plain": {"internal": 2},
        "megabytes": [900, 950, 1000, 1000, 1031],
    }
    assert missed(bad) == [
        "parse was away for 15.1 s",
        "tritonserver was away for 61.0 s",
        "1 restarting for who tries again",
        "2 internal",
        "memory x 1.031",
    ]
    assert "Missed: parse was away for 15.1 s; " in page("Here.", bad, 100)
