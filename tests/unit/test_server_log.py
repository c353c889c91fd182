"""What a server says stays within its files, whatever it says, and the cause of a failed start is found in it."""

import io
import os
import subprocess
import sys
import tracemalloc

import pytest

from serving.launcher import server_log
from serving.launcher.server_log import ServerLog

MEGABYTE = 1 << 20
FAILURE = "E0101 model.cc:1] failed to load 'mask' version 2: Internal: ConfigError: there is no m.onnx: run it.\\nAt:"


def say(log, program):
    """The output of a Python program that has ended, followed."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, errors="replace")
    output = log.follow(process)
    process.wait()
    output.finish()
    process.stdout.close()
    return output


@pytest.fixture
def small(monkeypatch):
    """Files that are soon full."""
    monkeypatch.setattr(server_log, "FILE_BYTES", MEGABYTE // 32)


@pytest.fixture
def log(tmp_path):
    log = ServerLog(tmp_path / "log", None)
    yield log
    log.close()


def test_many_megabytes_take_a_bounded_place_on_disk_and_the_last_are_kept(tmp_path, small):
    log = ServerLog(tmp_path / "log", None)
    say(log, "for number in range(10_000): print(f'line {number:7}', 'x' * 40)")
    log.close()
    files = list(tmp_path.iterdir())
    assert {file.name for file in files} == {"log", *(f"log.{number + 1}" for number in range(server_log.OLDER_FILES))}
    assert sum(file.stat().st_size for file in files) <= server_log.FILE_BYTES * (1 + server_log.OLDER_FILES)
    lines = [line for number in (1, 0) for line in (tmp_path / ("log.1" if number else "log")).read_text().splitlines()]
    assert [int(line.split()[1]) for line in lines] == list(range(10_000 - len(lines), 10_000))


def test_echo_gets_every_line_across_files(tmp_path, small):
    echo = io.StringIO()
    log = ServerLog(tmp_path / "log", echo)
    say(log, "for number in range(10_000): print(number, 'x' * 40)")
    log.close()
    assert [int(line.split()[0]) for line in echo.getvalue().splitlines()] == list(range(10_000))


def test_a_restart_does_not_read_what_was_written_before(log):
    say(log, "print('before')")
    with log.path.open("r+b") as file:
        os.truncate(file.fileno(), 200 * MEGABYTE)
    tracemalloc.start()
    try:
        output = say(log, "print('after')")
        reason = output.reason(1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEGABYTE
    assert reason == "tritonserver ended with status 1 while starting:\n  after"


def test_the_cause_of_a_failed_start_is_found_however_much_follows(log, small):
    output = say(log, f"print({FAILURE!r})\nfor number in range(5_000): print(number, 'x' * 60)")
    assert output.reason(1).splitlines()[1:] == [
        "  'mask' version 2 failed to load: Internal: ConfigError: there is no m.onnx: run it."
    ]


def test_causes_of_the_start_before_are_not_those_of_this_one(log):
    say(log, f"print({FAILURE!r})")
    assert "mask" not in say(log, "print('something else')").reason(1)


def test_each_kind_of_cause_is_told_once(log):
    lines = [
        '[libprotobuf ERROR /text.cc:335] Error parsing inference.ModelConfig: 2:15: no field named "max_batchsize".',
        "E0101 r.cc:1] Poll failed for model directory 'typo': failed to read text proto from /r/typo/config.pbtxt",
        "error: failed to start GRPC service: Unavailable - port 1 in use",
    ]
    reason = say(log, "\n".join(f"print({line!r})" for line in [*lines, *lines])).reason(1)
    assert reason.splitlines()[1:] == [
        "  'typo': failed to read text proto from /r/typo/config.pbtxt",
        '  Error parsing inference.ModelConfig: 2:15: no field named "max_batchsize".',
        "  failed to start GRPC service: Unavailable - port 1 in use",
    ]


def test_a_line_without_an_end_is_cut_and_kept(log):
    say(log, "print('x' * 1_000_000, end='')")
    assert log.path.read_text() == "x" * 1_000_000


def test_a_full_disk_stops_no_server(log):
    """Somebody must read the pipe, else a server that says more than fits into it would wait for good."""
    echo = io.StringIO()
    log._echo = echo
    log.path.unlink()
    log.path.symlink_to("/dev/full")
    log._files.close()  # it opens the file again
    say(log, "for number in range(10_000): print(number, 'x' * 40)")
    assert len(echo.getvalue().splitlines()) == 10_000
