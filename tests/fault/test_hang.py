"""A step that hangs inside a request is cut off, and the next request is served by another process."""

import numpy as np
import pytest
import tritonclient.grpc as triton
from recast import Restarting
from recast.errors import translate

from tests.launched import Launched, wait_for
from tests.served.triton_calls import call

CONFIG = """backend: "python"
max_batch_size: 1
instance_group [ { kind: KIND_CPU count: 1 } ]
input [ { name: "hangs" data_type: TYPE_BOOL dims: [ 1 ] } ]
output [ { name: "served" data_type: TYPE_BOOL dims: [ 1 ] } ]
"""
MODEL = """from serving.steps.step import Step
from serving.steps.tensors import scalar
import numpy as np

class TritonPythonModel(Step):
    def respond(self, request):
        while scalar(request, "hangs"):
            pass
        return {"served": np.array([[True]])}
"""


@pytest.fixture
def launched(tmp_path):
    (tmp_path / "models" / "loop" / "1").mkdir(parents=True)
    (tmp_path / "models" / "loop" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "models" / "loop" / "1" / "model.py").write_text(MODEL)
    options = (f"--model-repository={tmp_path / 'models'}", "--ready-model=loop", "--hung-after=2", "--exit-timeout=2")
    with Launched(tmp_path / "log", *options) as running:
        yield running


def test_endless_loop_restarting(launched):
    with triton.InferenceServerClient(launched.grpc_url) as client:
        (stub,) = launched.stubs("loop")
        assert call(client, "loop", hangs=np.array([[False]]))["served"].item()
        with pytest.raises(triton.InferenceServerException) as error:
            call(client, "loop", hangs=np.array([[True]]))
        assert isinstance(translate(error.value, url="", timeout=None), Restarting)
        wait_for(lambda: launched.stubs("loop") and launched.stubs("loop") != [stub] and client.is_model_ready("loop"))
        assert call(client, "loop", hangs=np.array([[False]]))["served"].item()
    assert "Timeout (0:00:02)!" in launched.log.read_text()
