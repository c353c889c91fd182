"""Clients that ping their server keep their calls."""

import numpy as np
import pytest
import tritonclient.grpc as triton

from serving.launcher.server import start
from serving.launcher.server_options import ServerOptions
from tests.served.triton_calls import call

SLOW = """backend: "python"
max_batch_size: 1
instance_group [ { kind: KIND_CPU count: 1 } ]
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


@pytest.mark.parametrize("milliseconds", [200, 1000])
def test_a_client_that_pings_keeps_its_call_however_long(tmp_path, milliseconds):
    """Seven seconds of silence: by default Triton hangs up on the third ping, `Too many pings`."""
    (tmp_path / "slow" / "1").mkdir(parents=True)
    (tmp_path / "slow" / "config.pbtxt").write_text(SLOW)
    (tmp_path / "slow" / "1" / "model.py").write_text(SLEEP)
    pings = [("grpc.keepalive_time_ms", milliseconds), ("grpc.http2.max_pings_without_data", 0)]
    with (
        start(ServerOptions(tmp_path, ready_model="slow")) as server,
        triton.InferenceServerClient(server.grpc_url, channel_args=pings) as client,
    ):
        assert call(client, "slow", seconds=np.array([[7.0]], np.float32))["slept"].item() == 7.0
