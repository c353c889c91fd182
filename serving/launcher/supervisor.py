"""Keeps a server alive: starts again what is dead or hung, a model by unload and load, else tritonserver itself.

Triton's health endpoints say OK over a dead stub process. What counts here is the processes themselves, four times a
second, that the server answers, and a real inference on each step that nobody has used for a while. What hangs inside a
step ends itself, see `serving.steps.watchdog`.
"""

import sys
import time
from collections import Counter

from serving.launcher.control_client import CallError
from serving.launcher.health_probe import HealthProbe
from serving.launcher.preflight import LaunchError
from serving.launcher.processes import Stub, stubs
from serving.launcher.server import RunningServer
from serving.launcher.shared_memory import FOLDER
from serving.topology import REPLACE, networks_of

LOOK_EVERY = 0.25
LIVE_EVERY, LIVE_WITHIN = 1.0, 10.0
STOPPED_AFTER = 3.0
"""Seconds that a process may be stopped by a signal."""
HUNG_AFTER = 120.0
"""Seconds without progress, where nothing else is said."""
STARTS = 4
"""Attempts to start tritonserver that may fail, or give one that does not work for STEADY seconds, in a row.

A tritonserver that took requests and crashed or fell silent is no such attempt. Callers can bring that about
(docker/THREATS.md), and giving up would only help them.
"""
STEADY = 60.0
LONGEST_PAUSE = 10.0
"""Seconds before a start after crashes in a row; the first comes at once, each further one a second later."""


class Supervisor:
    """Watches `server`, which runs. `restarts` counts by model, tritonserver under its own name."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.restarts: Counter[str] = Counter()
        patience = 2 * (server.options.hung_after or HUNG_AFTER)  # what hangs ends itself before
        self._health_probe = HealthProbe(server.control, patience) if server.options.ready_model == REPLACE else None
        self._mended: dict[str, float] = {}
        self._failures = self._crashes = 0
        self._begin()

    def run(self) -> None:
        """Look until an exception: LaunchError when tritonserver cannot be kept alive."""
        while True:
            self.look()
            time.sleep(LOOK_EVERY)

    def look(self) -> None:
        """Find what is dead and start it again."""
        why = self._server_failure()
        try:
            if why is None:
                why = self._mend_processes() or self._mend_step()
        except CallError:
            return  # the next look finds out why the server does not answer
        if why is not None:
            self._restart(why)

    def _begin(self) -> None:
        """Forget the processes of the former server."""
        self._known = set(stubs(self.server.pid))
        self._stopped: dict[Stub, float] = {}
        self._started = self._lived = time.monotonic()

    def _server_failure(self) -> str | None:
        status = self.server.poll()
        if status is not None:
            return f"it ended with status {status}" if status >= 0 else f"signal {-status} ended it"
        if time.monotonic() - self._lived >= LIVE_EVERY:
            if self.server.control.live(timeout=LIVE_WITHIN):
                self._lived = time.monotonic()
            elif time.monotonic() - self._lived >= LIVE_WITHIN:  # one refusal at once is no silence
                return f"it did not answer for {LIVE_WITHIN:.0f} s"
        return None

    def _mend_processes(self) -> str | None:
        """Reload the models of which a process ended; why the server must be started again if that fails."""
        alive = set(stubs(self.server.pid))
        self._end_stopped(alive)
        # One whose like is there was ended by a load, one whose version is not READY by an unload.
        lost = [stub for stub in self._known - alive if not any(map(stub.replaced_by, alive))]
        states = self.server.control.states() if lost else {}
        self._known = alive
        for stub in lost:
            (FOLDER / stub.region).unlink(missing_ok=True)
        # A release under smoke test, whose model is hidden, may fail: whoever tests it takes it away.
        lost = [stub for stub in lost if not stub.model.startswith(".")]
        crashed = {stub.model for stub in lost if states.get(stub.model, {}).get(stub.version) == "READY"}
        return self._reload(sorted(crashed), "a process of it ended")

    def _end_stopped(self, alive: set[Stub]) -> None:
        now = time.monotonic()
        self._stopped = {stub: self._stopped.get(stub, now) for stub in alive if stub.stopped}
        for stub, since in self._stopped.items():
            if now - since > STOPPED_AFTER:
                stub.kill()

    def _mend_step(self) -> str | None:
        """Reload a step that fails, and its networks; why the server must be started again if that did not help."""
        failed = self._health_probe.look() if self._health_probe else None
        if failed is None:
            return None
        now = time.monotonic()
        if now - self._mended.get(failed.step, -STEADY) < STEADY:
            return str(failed)
        self._mended[failed.step] = now
        models = [failed.step, *networks_of(failed.step)]
        if failed.hung:  # what does not answer does not unload either
            for stub in self._known:
                if stub.model in models:
                    stub.kill()
        return self._reload(models, str(failed))

    def _reload(self, models: list[str], why: str) -> str | None:
        """Unload and load each; what the server says if one does not load."""
        control = self.server.control
        for model in models:
            started = time.monotonic()
            try:
                control.unload(model)
                control.load(model)
            except CallError as error:
                return f"'{model}' could not be loaded again: {error}"
            self._report(model, f"'{model}': {why}", started)
        if models and self._health_probe:
            self._health_probe.soon()
        return None

    def _restart(self, why: str) -> None:
        """Start tritonserver again; LaunchError when it cannot be started, or never works for long."""
        if time.monotonic() - self._started > STEADY:
            self._failures = self._crashes = 0
        while True:
            started = time.monotonic()
            time.sleep(self._pause(why))
            try:
                self.server.restart()
            except LaunchError as error:
                why = str(error)
                print(f"recast: tritonserver did not start: {why}", file=sys.stderr, flush=True)
                continue
            self._report("tritonserver", f"tritonserver: {why}", started)
            return self._begin()

    def _pause(self, why: str) -> float:
        """Seconds until the next start; LaunchError when there shall be none."""
        if self.server.crashed():
            self._failures, self._crashes = 0, self._crashes + 1
            return min(self._crashes - 1, LONGEST_PAUSE)
        self._failures += 1
        if self._failures > STARTS:
            raise LaunchError(f"tritonserver was started {STARTS} times and does not stay: {why}.")
        return self._failures - 1

    def _report(self, name: str, what: str, started: float) -> None:
        self.restarts[name] += 1
        print(
            f"recast: {what}; started again in {time.monotonic() - started:.1f} s "
            f"(restarts of {name}: {self.restarts[name]})",
            file=sys.stderr,
            flush=True,
        )
