"""A step that makes no progress ends its process."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from serving.environment import HUNG_AFTER, METRICS
from serving.steps.watchdog import executions


def run(body: str, seconds: float = 0.4, **variables: str) -> subprocess.CompletedProcess:
    """A process of that body, which ends itself after so many seconds without progress."""
    code = f"import threading, time\nfrom serving.steps.watchdog import waiting, watched\n{body}"
    environment = {**os.environ, HUNG_AFTER: str(seconds), **variables}
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
    body = "with watched():\n    for _ in range(2):\n        time.sleep(0.2)\n        with waiting('unet'):\n"
    assert run(body + "            time.sleep(1.2)\ntime.sleep(1.1)", seconds=1).returncode == 0


def test_a_thread_that_outlives_its_request_is_not_watched():
    assert run("with watched(): pass\nwith waiting('unet'): time.sleep(1)\ntime.sleep(0.6)").returncode == 0


@pytest.fixture
def metrics():
    """A page of metrics on which the models in the list that the test fills execute once a look; its host:port."""
    looks = {"unet": 0, "vae_decoder": 0}
    working: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            for model in working:
                looks[model] += 1
            lines = (f'nv_inference_exec_count{{model="{m}",version="1"}} {n}' for m, n in looks.items())
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(lines).encode())

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", working, looks
        server.shutdown()
        thread.join()


LONG_CALL = "with watched():\n    with waiting('unet'):\n        time.sleep(6)"


def test_a_call_that_waits_behind_honest_work_is_left_alone(metrics):
    """Six seconds in a queue, where a network that does nothing has two."""
    url, working, looks = metrics
    working.append("unet")
    assert run(LONG_CALL, seconds=1, **{METRICS: url}).returncode == 0
    assert looks["unet"] >= 2


def test_a_call_of_a_model_that_makes_no_progress_ends(metrics):
    url, working, looks = metrics
    working.append("vae_decoder")  # another one does
    done = run(LONG_CALL, seconds=1, **{METRICS: url})
    assert done.returncode == 1
    assert "Timeout (0:00:02)!" in done.stderr
    assert looks["vae_decoder"] >= 1


def test_executions_are_those_of_all_versions_of_one_model():
    page = """# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="unet",version="1"} 12
nv_inference_exec_count{model="unet",version="2"} 3e+02
nv_inference_exec_count{model="unet_b",version="1"} 7
nv_inference_count{model="unet",version="1"} 99"""
    assert executions(page, "unet") == 312
    assert executions(page, "mask") == 0
