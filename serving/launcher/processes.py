"""tritonserver's process, and the stub processes under it, one for each instance of a Python model."""

import ctypes
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

STUB = "triton_python_backend_stub"
PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_STATE, _PARENT, _STARTED = 0, 1, 19  # fields of /proc/PID/stat after the program's name, see proc(5)


@dataclass(frozen=True)
class Stub:
    """A process of one instance of version `version` of `model`; `region` is its file in /dev/shm."""

    pid: int
    started: str
    model: str
    version: str
    instance: str
    region: str

    def state(self) -> str | None:
        """Its letter in /proc: T is stopped by a signal, Z has ended; None when it is gone."""
        fields = _fields(PROC / str(self.pid))
        return fields[_STATE] if fields is not None and fields[_STARTED] == self.started else None

    def kill(self) -> None:
        if self.state() is not None:
            os.kill(self.pid, signal.SIGKILL)

    def replaced_by(self, other: "Stub") -> bool:
        """Whether `other` is a later process of the same instance."""
        return (self.model, self.version, self.instance) == (other.model, other.version, other.instance)


def stubs(server: int) -> list[Stub]:
    """Those of the tritonserver with process id `server` that have not ended."""
    found = []
    for pid in children(server):
        fields, words = _fields(PROC / str(pid)), _words(PROC / str(pid))
        if fields is not None and Path(words[0]).name == STUB and len(words) > 8:
            *_, model, version, _ = Path(words[1]).parts
            found.append(Stub(pid, fields[_STARTED], model, version, words[8], words[2]))
    return found


def children(parent: int) -> list[int]:
    """Process ids of those that have not ended."""
    found = []
    for process in PROC.glob("[0-9]*"):
        fields = _fields(process)
        if fields is not None and int(fields[_PARENT]) == parent and fields[_STATE] not in "ZX":
            found.append(int(process.name))
    return found


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return [""]


def _fields(process: Path) -> list[str] | None:
    """Of /proc/PID/stat, those after the program's name; None when the process is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def die_with_parent() -> None:
    """In a process just forked: the kernel ends it when the thread that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process that leads its group, and all of the group, also when it has ended itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
