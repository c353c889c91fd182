"""admit: where an edit comes in. It passes the sentence on, or refuses at once what there is no room for."""

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from serving import environment
from serving.inflight import under_way
from serving.steps.admission import Gate, Limits, watch
from serving.steps.bls import parameters
from serving.steps.edit_log import is_health_probe
from serving.steps.step import Step, log_error
from serving.steps.tensors import Outputs, blob, bytes_tensor


class TritonPythonModel(Step):
    parameters = Limits

    def load(self, folder: Path, version: int, limits: Limits) -> None:
        self.gate = Gate(limits, measurement())
        self._logged: set[type[Exception]] = set()
        threading.Thread(target=watch, args=(self.gate, self._failed), daemon=True).start()

    def respond(self, request) -> Outputs:
        if not is_health_probe(request.request_id()):  # which is no edit, and asks only whether this works
            self.gate.enter(parameters(request).get("priority_class", "interactive"))
        return {"admitted_prompt": bytes_tensor(blob(request, "prompt"))}

    def _failed(self, error: Exception) -> None:
        """Log a measurement that failed, once for each kind: there are ten a second."""
        if type(error) not in self._logged:
            self._logged.add(type(error))
            log_error(f"how many edits are under way cannot be measured, so everybody is admitted: {error!r}")


def measurement() -> Callable[[], int]:
    """Counts the edits under way, where the launcher says how; else there are none, and everybody is admitted."""
    metrics, folder = os.environ.get(environment.METRICS), os.environ.get(environment.INFLIGHT)
    return partial(under_way, metrics, Path(folder)) if metrics and folder else lambda: 0
