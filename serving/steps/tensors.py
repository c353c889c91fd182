"""A request's inputs as Python values, and values as outputs.

The edge where the form of what a caller sent is checked.
"""

from typing import Any

import numpy as np

from serving.errors import EditError
from serving.intents import INTENTS

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside tritonserver: the pure functions stay importable for unit tests
    pb_utils = None

REQUIRED: Any = object()
Outputs = dict[str, np.ndarray]
"""The outputs of a response by name, batch axis included."""
_ERROR_OF_INPUT = {"image": "invalid_image", "prompt": "invalid_prompt"}


def _single(request, name: str, default: Any) -> Any:
    """The one element of the input `name`, or `default` when the request leaves it out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None and default is not REQUIRED:
        return default
    error = _ERROR_OF_INPUT.get(name, "invalid_option")
    if tensor is None:
        raise EditError(error, f"the input '{name}' is missing.")
    array = tensor.as_numpy()
    if array.size != 1:
        raise EditError(error, f"'{name}' has shape {list(array.shape)}; send one value, shape [1, 1].")
    return array.reshape(-1)[0]


def blob(request, name: str, default: Any = REQUIRED) -> Any:
    """The bytes of the BYTES input `name`; EditError when it is absent and no default is given."""
    return _single(request, name, default)


def text(request, name: str, default: Any = REQUIRED) -> Any:
    """The BYTES input `name` as str; EditError when absent without a default, or not UTF-8."""
    value = _single(request, name, default)
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        error = _ERROR_OF_INPUT.get(name, "invalid_option")
        raise EditError(error, f"'{name}' is not valid UTF-8; encode the text as UTF-8.") from None


def scalar(request, name: str, default: Any = None) -> Any:
    """The numeric input `name` as a Python int or float, or `default` when the request leaves it out."""
    value = _single(request, name, default)
    return value.item() if isinstance(value, np.generic) else value


def known_intent(request) -> str:
    """The name of an intent in the input `intent`, "" when the request leaves it out; EditError for an unknown one."""
    intent = text(request, "intent", "")
    if intent and intent not in INTENTS:
        known = ", ".join(INTENTS)
        raise EditError("invalid_option", f"the intent '{intent[:20]}' is unknown; known: {known}.")
    return intent


def bytes_tensor(*values: bytes | str) -> np.ndarray:
    """A BYTES tensor [1, n]: an object array, because `np.bytes_` loses trailing zero bytes."""
    array = np.empty((1, len(values)), dtype=object)
    array[0, :] = [value.encode("utf-8") if isinstance(value, str) else value for value in values]
    return array
