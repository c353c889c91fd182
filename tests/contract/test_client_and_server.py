"""What the client knows of the server by name is what the server has: neither imports the other."""

from pathlib import Path

from google.protobuf import text_format
from recast import calls, errors, intents, retrying
from recast.options import EditOptions, StreamOptions
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving import topology
from serving.errors import NAMES
from serving.intents import INTENTS
from serving.steps.admission import PRIORITIES
from tests.contract.required_inputs import may_be_left_out

REPOSITORY = Path(__file__).parents[2] / "model_repository"
OF_THE_CALL = {"priority", "canary_key", "timeout", "request_id"}
"""Options that are request parameters or tritonclient's, and no inputs."""


def optional_inputs(model):
    config = text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), ModelConfig())
    return {port.name for port in config.input if may_be_left_out(model, port)}


def test_the_intents():
    assert list(intents.INTENTS) == list(INTENTS)


def test_the_priorities():
    assert calls.PRIORITIES == PRIORITIES


def test_the_steps_whose_state_is_asked_for():
    assert retrying.STEPS == (topology.REPLACE, *topology.STEPS)


def test_every_error_name_has_a_class():
    assert set(errors._NAMED) == NAMES


def test_the_options_are_the_optional_inputs():
    assert EditOptions.__annotations__.keys() - OF_THE_CALL == optional_inputs("replace")
    assert StreamOptions.__annotations__.keys() - OF_THE_CALL == optional_inputs("replace_stream")
