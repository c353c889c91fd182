"""Triton's `onnxruntime` backend in Python, for servers without the C++ one, which answers to the same name.

Serves any ONNX model from its config alone: inputs, outputs, max_batch_size, default_model_filename, the
instance group's kind, parameters intra_op_thread_count, inter_op_thread_count and rows_at_once, and the CPU execution
accelerator openvino (see serving.onnx_backend.config).
"""

import json
from pathlib import Path

import triton_python_backend_utils as pb_utils

from serving.errors import out_of_memory
from serving.onnx_backend.config import ConfigError
from serving.onnx_backend.network import InputError, Network
from serving.steps.watchdog import watched


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        path = folder / (config.get("default_model_filename") or "model.onnx")
        gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        try:
            self.network = Network(path, config, gpu)
        except ConfigError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: list) -> list:
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        wanted = [list(request.requested_output_names()) for request in requests]
        with watched():
            answers = self.network.run_all(inputs, wanted)
        return [respond(answer) for answer in answers]


def respond(answer):
    """The response that carries one answer of `Network.run_all`; what only operators may read goes to the log."""
    if isinstance(answer, InputError):
        if answer.__cause__ is not None:
            pb_utils.Logger.log_error(f"{answer}: {answer.__cause__}")
        return refusal(str(answer), pb_utils.TritonError.INVALID_ARG)
    if isinstance(answer, Exception) and out_of_memory(answer):
        return refusal("overloaded: a network has no memory for this request now.", pb_utils.TritonError.UNAVAILABLE)
    if isinstance(answer, Exception):
        pb_utils.Logger.log_error(f"a network failed: {answer!r}")
        return refusal("internal: the network failed; the server's log says why.", pb_utils.TritonError.INTERNAL)
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in answer.items()])


def refusal(message: str, code: int):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
