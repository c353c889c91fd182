"""The figures of a flood: when service is normal again, which targets are met, and the page that tells."""

import pytest

from benchmarks.overload import Answer, met, page, until_normal

NORMAL = [Answer(float(n), 0.5, "edit") for n in range(5)]


def answers(*seconds_or_names):
    """Calls a second apart from 100 on: each an edit of so many seconds, or an error."""
    return [
        Answer(100.0 + n, 0.1 if isinstance(what, str) else what, what if isinstance(what, str) else "edit")
        for n, what in enumerate(seconds_or_names)
    ]


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (answers(0.5, 0.4, 0.3, 0.4, 0.5), 1.0),
        (answers("overloaded", 3.0, 0.4, 0.4, 0.4, 0.4, 0.4), 3.0),
        (answers(0.4, 0.4, 0.4, 0.4, "overloaded", 0.4, 0.4, 0.4, 0.4, 0.4), 6.0),
        (answers(0.4, 0.4), float("inf")),
    ],
)
def test_service_is_normal_from_the_first_of_five_normal_calls(after, seconds):
    assert until_normal(NORMAL, after, ended=99.0) == seconds


FIGURES = {"goodput / capacity": 0.95, "refusal p99, s": 0.2, "untyped errors": 0, "seconds until normal": 2.0}


def test_the_page_tells_which_targets_are_met():
    assert [name for name, fine in met(FIGURES).items() if not fine] == ["refusal p99, s"]
    assert "| refusal p99, s | 0.2 | < 0.1 | **no** |" in page("said", {**FIGURES, "answers": {"edit": 1}})
