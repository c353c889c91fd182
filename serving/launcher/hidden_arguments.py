"""Starts a program with arguments that no other user can read.

The arguments of a process stand in /proc/PID/cmdline for every user of the machine; its environment only for its own.
So what must stay secret goes into the environment, and before the program's first instruction its argument pointers are
made to lead there. There is no moment at which the secret can be read.
"""

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.environment import ARGUMENT

_TRACE_ME, _DETACH = 0, 17  # ptrace(2)
_POINTER = struct.Struct("=Q")
_START_OF_STACK, _START_OF_ENVIRONMENT = 28, 50  # fields of /proc/PID/stat, see proc(5); psutil has neither


def start(
    command: list[str], secret: str, *, env: dict[str, str], preexec_fn: Callable[[], None], **options: Any
) -> subprocess.Popen[Any]:
    """`subprocess.Popen(command, ...)`, every argument that contains `secret` unreadable to others: they see stars.

    PermissionError where the machine forbids a process to trace and to change its own child, as ptrace_scope 3 does.
    The calling thread waits for the program to start.
    """
    hidden = {place: argument for place, argument in enumerate(command) if secret in argument}
    shown = [argument.replace(secret, "*" * 8) for argument in command]
    variables = {f"{ARGUMENT}{place}": argument for place, argument in hidden.items()}

    def prepare() -> None:
        preexec_fn()
        if ctypes.CDLL(None).ptrace(_TRACE_ME, 0, None, None):
            raise PermissionError("ptrace")

    try:
        process = subprocess.Popen(shown, env={**env, **variables}, preexec_fn=prepare, **options)
    except subprocess.SubprocessError:
        raise PermissionError("this machine lets no process trace its own child") from None
    try:
        os.waitpid(process.pid, 0)  # stopped where the program begins
        _lead(process.pid, {place: f"{ARGUMENT}{place}=".encode() for place in hidden})
        ctypes.CDLL(None).ptrace(_DETACH, process.pid, None, None)
    except (OSError, ValueError) as error:  # a sandbox whose /proc lacks what Linux has in it
        process.kill()
        process.wait()
        raise PermissionError(f"this machine lets no process change its child's arguments: {error}") from None
    return process


def _lead(pid: int, variables: dict[int, bytes]) -> None:
    """Make the argument pointers of a program that has not begun lead behind the variables' names, "NAME="."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    stack, start = (int(fields[field - 3]) for field in (_START_OF_STACK, _START_OF_ENVIRONMENT))
    environment = b"\0" + (process / "environ").read_bytes()
    with (process / "mem").open("r+b", buffering=0) as memory:
        for place, name in variables.items():
            text = environment.index(b"\0" + name) + len(name)  # one less for the leading zero, one more behind it
            memory.seek(stack + _POINTER.size * (1 + place))  # behind argc
            memory.write(_POINTER.pack(start + text))
