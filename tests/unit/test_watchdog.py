"""A step that makes no progress ends its process."""

import os
import subprocess
import sys

import pytest

from serving.environment import HUNG_AFTER


def run(body: str, seconds: float = 0.4) -> subprocess.CompletedProcess:
    """A process of that body, which ends itself after so many seconds without progress."""
    code = f"import threading, time\nfrom serving.steps.watchdog import waiting, watched\n{body}"
    environment = {**os.environ, HUNG_AFTER: str(seconds)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, timeout=30, capture_output=True, text=True, cwd=os.getcwd()
    )


@pytest.mark.parametrize("hang", ["while True: pass", "threading.Event().wait()"])
def test_a_hung_step_ends_and_says_where(hang):
    done = run(f"with watched():\n    {hang}")
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "line 4" in done.stderr


def test_progress_is_left_alone():
    body = "with watched():\n    for _ in range(2):\n        time.sleep(0.2)\n        with waiting():\n"
    assert run(body + "            time.sleep(1.2)\ntime.sleep(1.1)", seconds=1).returncode == 0


def test_a_thread_that_outlives_its_request_is_not_watched():
    assert run("with watched(): pass\nwith waiting(): time.sleep(1)\ntime.sleep(0.6)").returncode == 0
