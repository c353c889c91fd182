"""admit: the door of an edit. It passes the sentence on, or refuses at once when there is no place."""

import os
import threading
from functools import partial
from pathlib import Path

import numpy as np

from serving.inflight import FOLDER
from serving.steps.admission import Gate, Places, under_way, watch
from serving.steps.bls import parameters
from serving.steps.step import Step, log_error
from serving.steps.tensors import blob, bytes_tensor

METRICS = "RECAST_METRICS"
"""The variable in which the launcher names the metrics' address. Without it everybody is let in."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, settings: dict[str, str]) -> None:
        places = Places(**{name: int(value) for name, value in settings.items()})
        metrics, hands = os.environ.get(METRICS), os.environ.get(FOLDER)
        measure = partial(self._measured, metrics, Path(hands)) if metrics and hands else lambda: 0
        self.gate = Gate(places, measure)
        threading.Thread(target=watch, args=(self.gate,), daemon=True).start()

    def respond(self, request) -> dict[str, np.ndarray]:
        self.gate.enter(parameters(request).get("priority_class", "interactive"))
        return {"admitted_prompt": bytes_tensor(blob(request, "prompt"))}

    def _measured(self, metrics: str, hands: Path) -> int:
        try:
            return under_way(metrics, hands)
        except OSError as error:
            log_error(f"the metrics at {metrics} cannot be read, so everybody is let in: {error}")
            return 0
