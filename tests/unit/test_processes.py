"""Stub processes: found under their server, told apart by more than their ids, gone when they have ended."""

import os
import subprocess

import psutil
import pytest

from serving.launcher.processes import STUB, stubs


@pytest.fixture
def start(tmp_path):
    """Starts a child with a stub's command line; it ends with its standard input."""
    program = tmp_path / "models" / "mask" / "3" / "model.py"
    program.parent.mkdir(parents=True)
    program.write_text("read line\n")
    started = []

    def start(instance, name=STUB):
        words = [f"/backends/{name}", str(program), f"region-{instance}", "1048576", "1048576", "1", "/tmp", "0"]
        started.append(subprocess.Popen([*words, instance, "x"], executable="/bin/sh", stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.stdin.close()
        process.kill()
        process.wait()


def test_stubs_are_the_children_with_a_stubs_command_line(start):
    one, two, _ = start("mask_0_0"), start("mask_0_1"), start("mask_0_2", "another")
    found = sorted(stubs(os.getpid()), key=lambda stub: stub.instance)
    assert [(stub.pid, stub.model, stub.version, stub.instance, stub.region, stub.stopped) for stub in found] == [
        (one.pid, "mask", "3", "mask_0_0", "region-mask_0_0", False),
        (two.pid, "mask", "3", "mask_0_1", "region-mask_0_1", False),
    ]
    assert set(found) == set(stubs(os.getpid()))
    assert not stubs(one.pid)


def test_an_ended_stub_is_none_though_nobody_waited_for_it(start):
    process = start("mask_0_0")
    (stub,) = stubs(os.getpid())
    stub.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert not stubs(os.getpid())
    process.wait()
    stub.kill()
    assert not stubs(process.pid)


def test_a_stopped_stub_is_the_same_one(start):
    process = start("mask_0_0")
    (before,) = stubs(os.getpid())
    psutil.Process(process.pid).suspend()
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    (after,) = stubs(os.getpid())
    assert after.stopped
    assert after == before


def test_another_process_with_its_id_is_another_stub_and_is_not_killed(start):
    process = start("mask_0_0")
    (now,) = stubs(os.getpid())
    then = psutil.Process(process.pid)
    then._ident = (process.pid, now.process._ident[1] - 10)
    before = type(now)(then, now.model, now.version, now.instance, now.region, now.stopped)
    assert before != now
    assert {before} - {now} == {before}
    before.kill()
    assert process.poll() is None
    assert psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE
