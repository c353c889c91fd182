"""Calls `inner` with the prompt, and `tally` many times over, keeping every array."""

import numpy as np

from serving.steps.bls import Caller
from serving.steps.step import Step
from serving.steps.tensors import blob


class TritonPythonModel(Step):
    def respond(self, request):
        infer = Caller(request).infer
        prompt = np.array([[blob(request, "prompt")]], dtype=object)
        model = "absent" if prompt[0, 0] == b"absent" else "inner"
        answer = infer(model, {"prompt": prompt}, ["answer"], version=self.version)["answer"]
        kept = [infer("tally", {"x": np.full((1, 5000), n, np.float32)}, ["doubled"])["doubled"] for n in range(40)]
        intact = all((array == 2 * n).all() for n, array in enumerate(kept))
        return {"answer": answer, "intact": np.array([[intact]])}
