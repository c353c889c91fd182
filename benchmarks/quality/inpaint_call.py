"""The `inpaint` step by itself: it paints one thing and is told that something else was asked for."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image
from recast.results import MaskResult
from tritonclient.grpc import InferenceServerClient, InferInput


@dataclass(frozen=True)
class Repaint:
    """`image`, uint8 [H, W, 3], where `found` says, is painted as `caption`, one attempt from `seed`.

    `intent` and `target` are what the server believes was asked for.
    """

    image: np.ndarray
    found: MaskResult
    caption: str
    intent: str
    target: str
    seed: int


def repainted(triton: InferenceServerClient, repaint: Repaint) -> tuple[np.ndarray, float | None]:
    """The picture, uint8 [H, W, 3], and its score, None where there is none."""
    file = io.BytesIO()
    Image.fromarray(repaint.image).save(file, "PNG")
    given: dict[str, bytes | str] = {
        "image": file.getvalue(),
        "mask_image": repaint.found.mask_png,
        "object_mask": repaint.found.object_mask_png,
        "caption": repaint.caption,
        "intent": repaint.intent,
        "target": repaint.target,
        "mask_report": json.dumps(repaint.found.report),
    }
    inputs = [_tensor(name, "BYTES", np.array([[value]], object)) for name, value in given.items()]
    inputs.append(_tensor("seed", "INT64", np.array([[repaint.seed]], np.int64)))
    inputs.append(_tensor("max_attempts", "INT32", np.array([[1]], np.int32)))
    answer = triton.infer("inpaint", inputs)
    after = np.asarray(Image.open(io.BytesIO(answer.as_numpy("edited_image")[0, 0])))
    score = float(answer.as_numpy("edit_score")[0, 0])
    return after, score if score >= 0 else None


def _tensor(name: str, datatype: str, values: np.ndarray) -> InferInput:
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor
