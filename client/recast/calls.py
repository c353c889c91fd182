"""What goes over the wire: each call's model, its inputs, and how its outputs are read.

Every model batches, and the batch of a call is one: scalars are [1, 1], variants [1, n].
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import index
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image
from tritonclient.grpc import InferInput, InferResult
from tritonclient.utils import np_to_triton_dtype

from .errors import InternalError, InvalidImage, InvalidOption, InvalidPrompt
from .options import EditOptions, StreamOptions
from .pictures import Picture, encoded
from .results import Edit, MaskResult, ParseResult, Progress

Result = TypeVar("Result")

PRIORITIES = ("interactive", "bulk")
_EXAMPLES = {"prompt": "Replace the car with a bicycle", "target": "red car on the left"}
_ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One inference: `model` with `inputs` and request `parameters`; `read` turns the answer into the result."""

    model: str
    inputs: list[InferInput]
    read: Callable[[InferResult], Result]
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def rivals(self) -> str:
        """Calls with the same one compete for the same places of a server; a bulk edit waits for places of its own."""
        return f"{self.model.removesuffix('_stream')} {self.parameters.get('priority_class', PRIORITIES[0])}"

    def arguments(self) -> dict[str, Any]:
        """tritonclient's, to call the model."""
        return {"model_name": self.model, "inputs": self.inputs, "parameters": self.parameters}


def replace(image: Picture, prompt: str, options: EditOptions) -> Call[Edit]:
    """The call of the whole chain."""
    priority = options.get("priority")
    if priority not in (None, *PRIORITIES):
        raise InvalidOption(f"the priority is {priority!r}; it is {' or '.join(PRIORITIES)}.")
    inputs = [
        _blob("image", _file(image)),
        _sentence("prompt", prompt),
        _integer("seed", options.get("seed"), np.int64),
        _integer("num_inference_steps", options.get("num_inference_steps"), np.int32),
        _number("guidance_scale", options.get("guidance_scale")),
        _number("strength", options.get("strength")),
        _text("negative_prompt", options.get("negative_prompt")),
        _integer("num_images", options.get("num_images"), np.int32),
        _integer("max_attempts", options.get("max_attempts"), np.int32),
    ]
    canary_key = options.get("canary_key")
    if not isinstance(canary_key, (str, type(None))):
        raise InvalidOption(f"canary_key is {canary_key!r}; it is text.")
    parameters = {"priority_class": priority, "canary_key": canary_key}
    given = {name: value for name, value in parameters.items() if value is not None}
    return Call("replace", _present(inputs), _edit, given)


def replace_stream(image: Picture, prompt: str, options: StreamOptions) -> Call[Progress | Edit]:
    """`replace` with a response after each step."""
    call = replace(image, prompt, options)
    inputs = call.inputs + _present([_integer("preview_side", options.get("preview_side"), np.int32)])
    return Call("replace_stream", inputs, _progress_or_edit, call.parameters)


def parse(prompt: str) -> Call[ParseResult]:
    """The call of the first step alone."""
    return Call("parse", _present([_sentence("prompt", prompt)]), _parse_result)


def mask(image: Picture, target: str, *, intent: str | None) -> Call[MaskResult]:
    """The call of the second step alone."""
    inputs = [
        _blob("image", _file(image)),
        _sentence("target", target),
        _text("intent", intent),
    ]
    return Call("mask", _present(inputs), _mask_result)


def _edit(answer: InferResult) -> Edit:
    return Edit(
        pngs=tuple(_values(answer, "edited_image")),
        mask_png=_value(answer, "mask_image"),
        intent=_string(answer, "intent"),
        target=_string(answer, "target"),
        replacement=_string(answer, "replacement"),
        parse_score=float(_value(answer, "parse_score")),
        mask_score=float(_value(answer, "mask_score")),
        edit_score=_score(answer, "edit_score"),
        seeds=tuple(int(seed) for seed in _values(answer, "used_seed")),
        report=json.loads(_value(answer, "report")),
        request_id=_request_id(answer),
    )


def _progress_or_edit(answer: InferResult) -> Progress | Edit:
    if answer.as_numpy("stage") is None:
        return _edit(answer)
    return Progress(
        stage=_string(answer, "stage"),
        step=int(_value(answer, "step")),
        steps=int(_value(answer, "steps")),
        preview_jpeg=None if answer.as_numpy("preview") is None else bytes(_value(answer, "preview")),
    )


def _parse_result(answer: InferResult) -> ParseResult:
    return ParseResult(
        intent=_string(answer, "intent"),
        target=_string(answer, "target"),
        replacement=_string(answer, "replacement"),
        caption=_string(answer, "caption"),
        parse_score=float(_value(answer, "parse_score")),
        report=json.loads(_value(answer, "parse_report")),
        request_id=_request_id(answer),
    )


def _mask_result(answer: InferResult) -> MaskResult:
    return MaskResult(
        mask_png=_value(answer, "mask_image"),
        object_mask_png=_value(answer, "object_mask"),
        mask_score=float(_value(answer, "mask_score")),
        report=json.loads(_value(answer, "mask_report")),
        request_id=_request_id(answer),
    )


def _score(answer: InferResult, name: str) -> float | None:
    """A score; None where the server has none, which it tells by -1."""
    score = float(_value(answer, name))
    return score if score >= 0 else None


def _present(inputs: list[InferInput | None]) -> list[InferInput]:
    return [tensor for tensor in inputs if tensor is not None]


def _tensor(name: str, value: np.ndarray[Any, Any]) -> InferInput:
    return InferInput(name, [1, 1], np_to_triton_dtype(value.dtype)).set_data_from_numpy(value.reshape(1, 1))


def _blob(name: str, value: bytes) -> InferInput:
    # An object array: numpy's own bytes type drops trailing zeros.
    return _tensor(name, np.array([value], dtype=np.object_))


def _file(image: Any) -> bytes:
    """`encoded`, for what else people have at hand: an array of pixels, or an address instead of a path."""
    if isinstance(image, str) and (scheme := _ADDRESS.match(image)):
        what = "a data URL" if scheme[0].lower() == "data:" else "an address"
        raise InvalidImage(f"the picture is {what}, not a path; give the bytes of the picture's file instead.")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,), (4,)):
            raise InvalidImage(
                f"the picture is an array of {image.dtype} {list(image.shape)}; it is uint8 [height, width, 3], or "
                "[height, width] in grey, 0 to 255."
            )
        image = Image.fromarray(np.ascontiguousarray(image))
    return encoded(image)


def _sentence(name: str, value: Any) -> InferInput | None:
    """A text that the call cannot be without."""
    if isinstance(value, (bytes, bytearray)):
        raise InvalidPrompt(f"the {name} is bytes; give text, such as {name}.decode().")
    if not isinstance(value, str):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise InvalidPrompt(f'the {name} is {what}; give text, such as "{_EXAMPLES[name]}".')
    return _text(name, value)


def _text(name: str, value: str | None) -> InferInput | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidOption(f"{name} is {value!r}; it is text.")
    try:
        return _blob(name, value.encode())
    except UnicodeEncodeError:
        raise InvalidPrompt(f"the {name} is not valid Unicode text.") from None


def _integer(name: str, value: int | None, kind: type[np.signedinteger[Any]]) -> InferInput | None:
    if value is None:
        return None
    limits = np.iinfo(kind)
    if not limits.min <= index(value) <= limits.max:
        raise InvalidOption(f"{name} is {value}; it must fit into {limits.bits} bits.")
    return _tensor(name, np.array([index(value)], dtype=kind))


def _number(name: str, value: float | None) -> InferInput | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        raise InvalidOption(f"{name} is {value!r}; it is a number.")
    return _tensor(name, np.array([value], dtype=np.float32))


def _values(answer: InferResult, name: str) -> list[Any]:
    """The flat values of one output; raises InternalError when the answer has none."""
    values = answer.as_numpy(name)
    if values is None or values.size == 0:
        raise InternalError(f"the server's answer has no {name}; is it a Recast server of this version?")
    return list(values.reshape(-1).tolist())


def _value(answer: InferResult, name: str) -> Any:
    return _values(answer, name)[0]


def _request_id(answer: InferResult) -> str:
    return str(answer.get_response().id)


def _string(answer: InferResult, name: str) -> str:
    return str(_value(answer, name).decode())
