"""What an exception becomes, and what Triton's own messages mean."""

import numpy as np
import pytest

from serving.errors import EditError, out_of_memory
from serving.steps.step import guarded
from serving.triton_errors import is_away, is_busy


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MemoryError(), "overloaded"),
        (np.core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8)), "overloaded"),
        (OutOfMemoryError("CUDA out of memory."), "overloaded"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 4096"), "overloaded"),
        (ValueError("wrong"), "internal"),
        (EditError("invalid_image", "no."), "invalid_image"),
    ],
)
def test_an_exception_becomes_its_error(error, name):
    def fail():
        raise error

    assert guarded(fail).name == name
    assert out_of_memory(error) is (name == "overloaded")


@pytest.mark.parametrize(
    ("message", "away", "busy"),
    [
        ("Stub process 'unet_0_0' is not healthy.", True, False),
        ("Model unet - Error when running inference: Server not ready", True, False),
        ("Failed for execute the inference request. Model 'unet' is not ready.", True, False),
        ("Exceeds maximum queue size", False, True),
        ("Request timeout expired", False, True),
        ("unexpected shape for input 'x'", False, False),
    ],
)
def test_a_model_that_is_gone_for_a_moment_is_told_from_a_busy_one(message, away, busy):
    assert (is_away(message), is_busy(message)) == (away, busy)
