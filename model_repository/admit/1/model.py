"""admit: the door of an edit. It passes the sentence on, or refuses at once when there is no place."""

import os
import threading
from pathlib import Path

import numpy as np

from serving.admission import Gate, Places, under_way, watch
from serving.calling import parameters
from serving.hands import FOLDER
from serving.triton import Step, blob, bytes_tensor, log_error

METRICS = "RECAST_METRICS"
"""The variable in which the launcher names the metrics' address. Without it everybody is let in."""


class TritonPythonModel(Step):
    def load(self, folder: Path, version: int, settings: dict[str, str]) -> None:
        places = Places(**{name: int(value) for name, value in settings.items()})
        metrics, hands = os.environ.get(METRICS), os.environ.get(FOLDER)
        known = metrics is not None and hands is not None
        self.gate = Gate(places, lambda: self._measured(metrics, Path(hands)) if known else 0)
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
