"""Inputs that our steps require and Triton does not.

Triton counts inputs and does not look which they are: one that is absent beside an optional one that is given went
unnoticed, and the ensemble then answered "unexpected deadlock, at least one output is not set". So the config calls all
but one of a model's required inputs optional, and the step says which is missing. The one that remains keeps Triton
from letting a request without any input into a batch; Triton itself names it then.
"""

CHECKED_BY_THE_STEP = {
    "replace": {"image", "prompt"},  # an ensemble: its first step requires the prompt
    "replace_stream": {"image"},
    "mask": {"image"},
    "inpaint": {"image", "mask_image"},
}


def may_be_left_out(model: str, port) -> bool:
    """Whether a caller may leave out the input `port` of `model`."""
    return port.optional and port.name not in CHECKED_BY_THE_STEP.get(model, ())
