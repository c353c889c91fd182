"""In-flight requests: those that wait, from a page of metrics, and those worked on, told between processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.inflight import InFlight, in_flight, page, pending
from serving.topology import STEPS


@contextmanager
def answering(content: bytes):
    """The address of a server that says `content` to whoever connects, and hangs up."""

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(content)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield "{}:{}".format(*listener.getsockname())
        thread.join()


@pytest.mark.parametrize(
    "content",
    [b"", b"no HTTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", b"HTTP/1.1 503 no\r\n\r\n"],
)
def test_metrics_without_a_good_answer_are_an_oserror(content):
    with answering(content) as metrics, pytest.raises(OSError, match=r"no good answer|without response"):
        page(metrics)


def test_a_page_that_is_no_text_is_read():
    with answering(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe") as metrics:
        assert set(pending(page(metrics)).values()) == {0}


PAGE = """# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="inpaint",version="1"} 3
nv_inference_pending_request_count{model="inpaint",version="2"} 4.000000
nv_inference_pending_request_count{model="mask",version="1"} 1
nv_inference_pending_request_count{model="unet",version="1"} 99
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="parse",version="1"} 50
"""


def test_waiting_requests_are_read_from_a_page_of_metrics():
    assert pending(PAGE) == {"inpaint": 7, "mask": 1, "parse": 0}


def test_waiting_requests_are_those_that_prometheus_reads():
    theirs = Counter()
    for family in text_string_to_metric_families(PAGE):
        for sample in family.samples:
            if sample.name == "nv_inference_pending_request_count":
                theirs[sample.labels["model"]] += int(sample.value)
    assert pending(PAGE, frozenset(theirs)) == theirs


@pytest.mark.parametrize("value", ["NaN", "+Inf", "", "many", "-"])
def test_a_page_with_garbage_for_numbers_is_read(value):
    assert pending(f'nv_inference_pending_request_count{{model="mask",version="1"}} {value}') == dict.fromkeys(STEPS, 0)


MODELS = frozenset({"mask"})


def test_requests_in_flight_are_counted_while_they_last(tmp_path):
    mine = InFlight("mask", tmp_path)
    other = InFlight("unknown", tmp_path)
    with mine.counting(3), mine.counting(2), other.counting(9):
        assert list(in_flight(tmp_path, MODELS).values()) == [5]
    with pytest.raises(ZeroDivisionError), mine.counting(4):
        raise ZeroDivisionError
    assert list(in_flight(tmp_path, MODELS).values()) == [0]


def test_what_a_killed_process_had_in_flight_is_not_counted(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from serving.inflight import InFlight\n"
        "with InFlight('mask', Path(sys.argv[1])).counting(7):\n print('holding', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert list(in_flight(tmp_path, MODELS).values()) == [7]
        os.kill(process.pid, signal.SIGKILL)
    assert in_flight(tmp_path, MODELS) == {}
    assert list(tmp_path.iterdir()) == []
