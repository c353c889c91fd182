"""admit: the door of an edit. It passes the sentence on, or refuses at once when there is no place."""

import os
import threading
from functools import partial
from pathlib import Path

import numpy as np

from serving import environment
from serving.inflight import under_way
from serving.steps.admission import Gate, Places, watch
from serving.steps.bls import parameters
from serving.steps.step import Step, log_error
from serving.steps.tensors import blob, bytes_tensor


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, settings: dict[str, str]) -> None:
        places = Places(**{name: int(value) for name, value in settings.items()})
        metrics, folder_in_flight = os.environ.get(environment.METRICS), os.environ.get(environment.INFLIGHT)
        measure = (
            partial(self._measured, metrics, Path(folder_in_flight)) if metrics and folder_in_flight else lambda: 0
        )
        self.gate = Gate(places, measure)
        threading.Thread(target=watch, args=(self.gate,), daemon=True).start()

    def respond(self, request) -> dict[str, np.ndarray]:
        self.gate.enter(parameters(request).get("priority_class", "interactive"))
        return {"admitted_prompt": bytes_tensor(blob(request, "prompt"))}

    def _measured(self, metrics: str, in_flight: Path) -> int:
        try:
            return under_way(metrics, in_flight)
        except OSError as error:
            log_error(f"the metrics at {metrics} cannot be read, so everybody is let in: {error}")
            return 0
