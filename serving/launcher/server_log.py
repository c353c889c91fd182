"""What tritonserver says: kept in a file, and why it did not start found in there."""

import re
import subprocess
import threading
from pathlib import Path
from typing import TextIO


class ServerLog:
    """The output of tritonserver, one process after the other, in the file `path`; `echo` receives it as it comes."""

    def __init__(self, path: Path, echo: TextIO | None):
        self.path = path
        self._echo = echo
        path.write_text("")

    def follow(self, process: subprocess.Popen) -> None:
        """Copy what `process` says from now on, in a thread, until it ends."""
        self._began = len(self.path.read_text())
        self._thread = threading.Thread(target=self._copy, args=(process,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last lines of a process that has ended."""
        self._thread.join(5)

    def reason(self, status: int | None) -> str:
        """Why the process that was followed last ended with `status` while starting."""
        self.finish()
        return explain(self.path.read_text()[self._began :], status)

    def _copy(self, process: subprocess.Popen) -> None:
        assert process.stdout is not None
        with self.path.open("a", buffering=1) as log:
            for line in process.stdout:
                log.write(line)
                if self._echo is not None:
                    self._echo.write(line)
                    self._echo.flush()


def explain(log: str, status: int | None) -> str:
    """One line a cause, found in the log of a tritonserver that ended while starting."""
    failures = re.findall(r"failed to load '([^']+)' version (\d+): (.*)", log)
    reasons = [f"'{model}' version {version} failed to load: {_brief(why)}" for model, version, why in failures]
    polls = re.findall(r"Poll failed for model directory '([^']+)': (.*)", log)
    reasons += [f"'{model}': {_brief(why)}" for model, why in polls]
    reasons += re.findall(r"\[libprotobuf ERROR .*\] (.*)", log)
    reasons += re.findall(r"(failed to start .* service: .*)", log)
    if not reasons:
        reasons = log.splitlines()[-5:]
    return "\n  ".join([f"tritonserver ended with status {status} while starting:", *dict.fromkeys(reasons)])


def _brief(reason: str) -> str:
    """The first sentence of a model's own reason, without the traceback that Triton appends as '\\n'."""
    return reason.split("\\n")[0].removesuffix('"')
