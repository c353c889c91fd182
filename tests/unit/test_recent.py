"""What a step remembers."""

import pytest

from serving.recent import Recent


def test_a_value_is_made_once_and_the_longest_unused_is_forgotten():
    made = []
    recent = Recent(2)
    for key in "abacba":
        assert recent.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "c", "b", "a"]
    assert "a" in recent
    assert "c" not in recent


def test_an_error_is_not_remembered():
    recent = Recent(2)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            recent.get("a", lambda: 1 / 0)
    assert recent.get("a", lambda: 3) == 3
