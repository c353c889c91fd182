"""Clients that ping their server keep their calls."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import tritonclient.grpc as triton

from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests.served.triton_calls import call

PINGS = (200, 1000)
"""Milliseconds between the pings of each client."""
SLOW = """backend: "python"
max_batch_size: 1
instance_group [ { kind: KIND_CPU count: 2 } ]
input [ { name: "seconds" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "slept" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
SLEEP = """import time
from serving.steps.step import Step
from serving.steps.tensors import scalar
import numpy as np

class TritonPythonModel(Step):
    def respond(self, request):
        time.sleep(scalar(request, "seconds"))
        return {"slept": np.array([[scalar(request, "seconds")]], np.float32)}
"""


def test_clients_that_ping_keep_their_calls_however_long(tmp_path):
    """Seven seconds of silence: by default Triton hangs up on the third ping, `Too many pings`."""
    (tmp_path / "slow" / "1").mkdir(parents=True)
    (tmp_path / "slow" / "config.pbtxt").write_text(SLOW)
    (tmp_path / "slow" / "1" / "model.py").write_text(SLEEP)
    with start(ServerOptions(tmp_path, ready_model="slow")) as server, ThreadPoolExecutor() as pool:
        assert list(pool.map(partial(slept, server.grpc_url), PINGS)) == [7.0] * len(PINGS)


def slept(url, milliseconds):
    pings = [("grpc.keepalive_time_ms", milliseconds), ("grpc.http2.max_pings_without_data", 0)]
    with triton.InferenceServerClient(url, channel_args=pings) as client:
        return call(client, "slow", seconds=np.array([[7.0]], np.float32))["slept"].item()
