"""The shared memory of a server's Python models: named so that what a dead server left behind is found and removed.

Each launcher names its regions with a prefix of its own and holds a lock file of that name, which tritonserver and the
stubs inherit. The kernel lets go of the lock when the last of them is dead, whatever killed them and in whatever
container they ran; process ids could not tell that.
"""

import fcntl
import os
import secrets
from pathlib import Path

FOLDER = Path("/dev/shm")
LOCK = ".lock"


class Regions:
    """The regions in `folder` of one launcher: theirs is the prefix, until `close`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        sweep(folder)
        self._folder = folder
        self._name = f"recast-{secrets.token_hex(4)}"
        self._lock = folder / f"{self._name}{LOCK}"
        self.descriptor = os.open(self._lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    @property
    def prefix(self) -> str:
        return f"{self._name}-"

    def clear(self) -> None:
        """Remove what a server that has ended left."""
        _remove(self._folder, self.prefix)

    def close(self) -> None:
        self.clear()
        self._lock.unlink(missing_ok=True)
        os.close(self.descriptor)


def sweep(folder: Path = FOLDER) -> None:
    """Remove the regions of every launcher whose processes are all dead."""
    for lock in folder.glob(f"recast-*{LOCK}"):
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except OSError:  # another user's, or another sweep was quicker
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            _remove(folder, f"{lock.name.removesuffix(LOCK)}-")
            lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _remove(folder: Path, prefix: str) -> None:
    for region in folder.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
