"""Raw calls of a Triton model over gRPC."""

from concurrent.futures import ThreadPoolExecutor

import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def call(client, model, outputs=None, **arrays):
    """The outputs by name of one inference; without `outputs` all of them."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    wanted = None if outputs is None else [grpc.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, inputs, outputs=wanted)
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def at_once(client, model, requests):
    """The answers, or the errors, of requests sent at the same moment."""

    def one(arrays):
        try:
            return call(client, model, **arrays)
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def executions(url, model):
    """How often a model has executed, by the statistics of the server at `url`; the UNet, once a denoising step."""
    with grpc.InferenceServerClient(url) as client:
        return sum(stats.execution_count for stats in client.get_inference_statistics(model).model_stats)
