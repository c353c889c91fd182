"""One instance that holds all loops and the UNet: Triton's iterative sequences bring each back for its next step."""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils

from benchmarks.in_flight.work import Loop, read_assets
from serving.onnx_backend.network import Network


class TritonPythonModel:
    def initialize(self, args):
        repository = Path(args["model_repository"]).parent
        self.assets = read_assets(args["model_repository"])
        unet = json.loads((repository / "unet.json").read_text())
        self.network = Network(repository / "unet" / "1" / "model.onnx", unet)
        self.running = {}

    def execute(self, requests):
        for request in requests:
            if request.correlation_id() not in self.running:
                seed, steps = (
                    int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().item())
                    for name in ("seed", "steps")
                )
                self.running[request.correlation_id()] = Loop(self.assets, seed, steps)
        loops = [self.running[request.correlation_id()] for request in requests]
        rows = [loop.inputs() for loop in loops]
        inputs = [{**row, "timestep": row["timestep"][:, 0]} for row in rows]
        for request, loop, answer in zip(
            requests, loops, self.network.run_all(inputs, [["out_sample"]] * len(inputs)), strict=True
        ):
            sender = request.get_response_sender()
            loop.advance(answer["out_sample"])
            if loop.steps:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            else:
                del self.running[request.correlation_id()]
                response = pb_utils.InferenceResponse([pb_utils.Tensor("latents", loop.sample)])
                sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
