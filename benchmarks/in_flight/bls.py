"""A denoising loop in each instance, its steps sent to `unet`, where the dynamic batcher merges them: Recast's way."""

import triton_python_backend_utils as pb_utils

from benchmarks.in_flight.work import Loop, read_assets
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
        loop = Loop(self.assets, seed, steps)
        while loop.steps:
            loop.advance(caller.infer("unet", loop.inputs(), ["out_sample"])["out_sample"])
        return pb_utils.InferenceResponse([pb_utils.Tensor("latents", loop.sample)])
