"""A program's arguments reach it whole, and other users see stars."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.launcher import hidden_arguments

SECRET = "nobody-may-read-this"
SHOW = "import sys; print(sys.argv[1:], flush=True); sys.stdin.read()"


def start(*arguments, preexec_fn=lambda: None):
    return hidden_arguments.start(
        [sys.executable, "-c", SHOW, *arguments],
        SECRET,
        env=dict(os.environ),
        preexec_fn=preexec_fn,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_program_gets_what_others_cannot_read():
    arguments = [f"--one={SECRET}", "plain", f"--two=a:{SECRET}:b", SECRET, ""]
    process = start(*arguments)
    shown = Path(f"/proc/{process.pid}/cmdline").read_text()
    out, _ = process.communicate("")
    assert out == f"{arguments}\n"
    assert process.returncode == 0
    assert SECRET not in shown
    assert shown.split("\0")[3:-1] == ["--one=********", "plain", "--two=a:********:b", "********", ""]


def test_a_program_that_cannot_be_traced_is_not_started():
    def refuse():
        raise PermissionError

    with pytest.raises(PermissionError, match="trace its own child"):
        start(SECRET, preexec_fn=refuse)


def test_a_program_that_cannot_be_changed_is_stopped(monkeypatch):
    started = []

    def fail(pid, variables):
        started.append(pid)
        raise ValueError("no such place")

    monkeypatch.setattr(hidden_arguments, "_lead", fail)
    with pytest.raises(PermissionError, match="no such place"):
        start(SECRET)
    assert not Path(f"/proc/{started[0]}").exists()


def test_an_absent_program_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        hidden_arguments.start(["/absent", SECRET], SECRET, env={}, preexec_fn=lambda: None)
