"""What tritonserver says: kept in files of bounded size, and why it did not start found in what it said since then."""

import logging
import re
import subprocess
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

FILE_BYTES = 16 << 20
"""Of one file: about 100,000 edits, whose line has 166 bytes, and still opened by any editor."""
OLDER_FILES = 4
"""Files kept beside the one that is written, FILE.1 the latest: with it 84 MB, five days of an edit a second."""
LINE_BYTES = 64 << 10
"""What a model prints without an end of line is cut there."""
CAUSES = 50
"""Why a start failed, at most; each model of a repository can fail once."""
LAST_LINES = 5
"""What stands for the cause of a failed start where none is known."""
_KNOWN = (  # in the order in which they are told
    (re.compile(r"failed to load '([^']+)' version (\d+): (.*)"), "'{}' version {} failed to load: {}"),
    (re.compile(r"Poll failed for model directory '([^']+)': (.*)"), "'{}': {}"),
    (re.compile(r"\[libprotobuf ERROR .*\] (.*)"), "{}"),
    (re.compile(r"(failed to start .* service: .*)"), "{}"),
)


class ServerLog:
    """The output of tritonserver, one process after the other, in `path` and OLDER_FILES beside it.

    `echo` receives it as it comes.
    """

    def __init__(self, path: Path, echo: TextIO | None):
        self.path = path
        self._echo = echo
        path.write_text("")
        self._files = _Files(path, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")

    def follow(self, process: subprocess.Popen[str]) -> "Output":
        """Copy what `process` says from now on, in a thread, until it ends."""
        return Output(process, self)

    def write(self, line: str) -> None:
        self._files.emit(logging.makeLogRecord({"msg": line}))
        if self._echo is not None:
            self._echo.write(line)
            self._echo.flush()

    def close(self) -> None:
        with suppress(OSError):  # what did not fit on the disk
            self._files.close()


class Output:
    """What one process says, from its start to its end."""

    def __init__(self, process: subprocess.Popen[str], log: ServerLog) -> None:
        assert process.stdout is not None  # started with a pipe, which Popen's type does not say
        self._lines = iter(partial(process.stdout.readline, LINE_BYTES), "")
        self._log = log
        self._causes: dict[str, int] = {}
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last lines of a process that has ended."""
        self._thread.join(5)

    def reason(self, status: int) -> str:
        """Why the process ended with `status` while starting, one line a cause."""
        self.finish()
        reasons = sorted(self._causes, key=lambda cause: self._causes[cause]) or [*self._last]
        return "\n  ".join([f"tritonserver ended with status {status} while starting:", *reasons])

    def _copy(self) -> None:
        for line in self._lines:
            self._last.append(line.rstrip("\n"))
            cause = find_cause(line)
            if cause is not None and len(self._causes) < CAUSES:
                self._causes.setdefault(*cause)
            self._log.write(line)


def find_cause(line: str) -> tuple[str, int] | None:
    """Why tritonserver does not start, and which of the known kinds that is, if `line` of its log says that."""
    for kind, (pattern, sentence) in enumerate(_KNOWN):
        match = pattern.search(line)
        if match:
            *names, why = match.groups()
            # The first sentence of a model's own reason, without the traceback that Triton appends as '\n'.
            return sentence.format(*names, why.split("\\n")[0].removesuffix('"')), kind
    return None


class _Files(RotatingFileHandler):
    """Lines as they are, their ends among them."""

    terminator = ""

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the line: on a full disk too somebody must read the pipe, or tritonserver would wait for it for good."""
