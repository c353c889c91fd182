"""When a call is tried again, and until when."""

import math

from recast import retrying


def test_backoff_grows_and_is_bounded():
    pauses = list(retrying.backoff(12))
    assert 0.1 <= pauses[0] <= 0.2
    assert all(1 <= pause <= retrying.LONGEST_PAUSE for pause in pauses[6:])
    assert list(retrying.backoff(0)) == []


def test_deadline_never_goes_below_zero():
    assert retrying.Deadline(-1.0).left() == 0.0
    assert retrying.Deadline(None).left() is None
    assert retrying.Deadline(None).allows(math.inf)
    assert retrying.Deadline(9.0).allows(1.0)
    assert not retrying.Deadline(1.0).allows(9.0)
