"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_OPEN_FILE = re.compile(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")
_NO_RENAME = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.EROFS)
"""The folder takes no new file, or the file is mounted by itself: it can only be written where it is."""


def is_special(file: Path) -> bool:
    """Whether the name stands for a device, a pipe or a file that is open already: such are written to directly."""
    if _OPEN_FILE.fullmatch(str(file)):
        return True
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write(data: bytes, file: Path, *, replace: bool) -> None:
    """Write a file beside `file`, then rename: a failed write keeps the old one, whose permissions stay.

    Where `file` is a link, what it leads to is written. An existing one is replaced only if `replace`.

    Raises:
        OSError: it cannot be written, FileExistsError that it came to be in the meantime.
    """
    if is_special(file):
        file.write_bytes(data)
        return
    target = Path(os.path.realpath(file))
    try:
        _write_beside(data, target, replace=replace)
    except OSError as error:
        if not replace or error.errno not in _NO_RENAME or not target.is_file():
            raise
        target.write_bytes(data)


def keep(data: bytes, name: str) -> Path | None:
    """Keep a file that found no room where it should be in a temporary folder; its path, None if nowhere is room."""
    for folder in dict.fromkeys((_temporary(), "/dev/shm", str(Path.home()))):
        with suppress(OSError):
            if folder and os.path.isdir(folder):
                file = Path(folder) / f"recast-{secrets.token_hex(4)}-{name[-60:]}"
                write(data, file, replace=False)
                return file
    return None


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none is writable
        return ""


def _write_beside(data: bytes, target: Path, *, replace: bool) -> None:
    fresh = target.with_name(f".recast-{secrets.token_hex(8)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not replace:
            _place(fresh, target)
            return
        if target.exists():
            _keep_access(target, fresh)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def _place(fresh: Path, target: Path) -> None:
    """Give the file its name, which nobody else may have taken."""
    try:
        os.link(fresh, target)
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.replace(fresh, target)


def _keep_access(old: Path, fresh: Path) -> None:
    with suppress(OSError, AttributeError):  # only root may give a file away; Windows knows no owners
        os.chown(fresh, old.stat().st_uid, old.stat().st_gid)
    shutil.copymode(old, fresh)
