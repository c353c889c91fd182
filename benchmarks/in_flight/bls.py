"""A denoising loop in each instance, its steps sent to `unet`, where the dynamic batcher merges them: Recast's way."""

import numpy as np
import triton_python_backend_utils as pb_utils

from benchmarks.in_flight.work import loop, read_assets
from serving.steps.bls import Caller


class TritonPythonModel:
    def initialize(self, args):
        self.assets = read_assets(args["model_repository"])

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        seed, steps = (
            int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().item()) for name in ("seed", "steps")
        )
        caller = Caller(request)
        work = loop(self.assets, seed, steps)
        rows = next(work)
        while True:
            try:
                rows = work.send(caller.infer("unet", rows, ["out_sample"])["out_sample"])
            except StopIteration as end:
                return pb_utils.InferenceResponse([pb_utils.Tensor("latents", end.value.astype(np.float32))])
