"""tritonserver's process, and the stub processes under it, one for each instance of a Python model.

psutil looks at them: with 20 stubs among 180 processes a look takes 3.6 ms of a core, where our own parsing of /proc
took 4.9 ms; it costs the launcher 1.6 MB. It knows nothing of process groups and of parents' deaths.
"""

import ctypes
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import psutil

STUB = "triton_python_backend_stub"
_REGION, _INSTANCE = 2, 8  # words of a stub's command line
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Stub:
    """A process of one instance of version `version` of `model`; `region` is its file in /dev/shm.

    Two are equal when they are the same process, and not only had the same id. `stopped`: by a signal, when looked at.
    """

    process: psutil.Process
    model: str
    version: str
    instance: str
    region: str
    stopped: bool = field(compare=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """Kill it; nothing when it has ended, whoever has its id now."""
        with suppress(psutil.NoSuchProcess):
            self.process.kill()

    def replaced_by(self, other: "Stub") -> bool:
        """Whether `other` is a later process of the same instance."""
        return (self.model, self.version, self.instance) == (other.model, other.version, other.instance)


def stubs(server: int) -> list[Stub]:
    """Those of the tritonserver with process id `server` that have not ended."""
    found = []
    for process in children(server):
        with suppress(psutil.NoSuchProcess, _OtherProgram):
            status = process.status()
            if status != psutil.STATUS_ZOMBIE:
                found.append(Stub(process, *_words(process), status == psutil.STATUS_STOPPED))
    return found


def children(parent: int) -> list[psutil.Process]:
    """Processes of the process with that id, ended ones among them; none when it has ended itself."""
    try:
        return psutil.Process(parent).children()
    except psutil.NoSuchProcess:
        return []


class _OtherProgram(Exception):
    """A process is no stub, or not yet: what was just forked has its parent's command line."""


@lru_cache(maxsize=256)
def _words(stub: psutil.Process) -> tuple[str, str, str, str]:
    """Its model, version, instance and region. Read once a process: its words do not change. Raises _OtherProgram."""
    words = stub.cmdline()
    if len(words) <= _INSTANCE or Path(words[0]).name != STUB:
        raise _OtherProgram
    *_, model, version, _ = Path(words[1]).parts
    return model, version, words[_INSTANCE], words[_REGION]


def die_with_parent() -> None:
    """In a process just forked: the kernel ends it when the thread that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process that leads its group, and all of the group, also when it has ended itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
