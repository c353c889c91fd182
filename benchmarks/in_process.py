"""The whole chain in one process over a repository's files: the same sessions, no server, no gRPC, no copies."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.diffusion.assets import Assets
from serving.diffusion.inpaint import InpaintRequest, InpaintResult, inpaint, no_look, result_of
from serving.diffusion.options import Options
from serving.imaging import picture
from serving.imaging.colour import Rgb
from serving.intents import INTENTS
from serving.language.colours import paint_of
from serving.language.instruction import Edit, caption, read_answer
from serving.language.model import LanguageModel
from serving.onnx_backend.network import Network
from serving.segmentation.edit_mask import edit_masks
from serving.segmentation.second_look import SecondLook, Wish
from serving.segmentation.segmenter import Masker


def triton_config(path: Path) -> dict[str, Any]:
    """A config.pbtxt as Triton hands it to a backend."""
    config = text_format.Parse(path.read_text(), ModelConfig())
    return json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


class InProcess:
    """Release 1 of `repository`, by the launcher's `config`. `seconds` adds up the time in each network by its name."""

    def __init__(self, repository: Path, config: str | None = None):
        self.paint_with(repository, config)
        self.masker = Masker(repository / "mask" / "1")
        settings = json.loads((repository / "parse" / "1" / "parse.json").read_text())
        self.language = LanguageModel(
            repository / "parse" / "1" / "checkpoint", quantisation=settings["quantisation"], device="cpu"
        )

    def paint_with(self, repository: Path, config: str | None = None) -> None:
        """Take the networks, and what inpaint has beside them, from another repository or by another config."""
        self.repository, self.config = repository, config
        self.assets = Assets.read(repository / "inpaint" / "1")
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._networks: dict[str, Network] = {}

    def edit(self, image: bytes, prompt: str, seed: int, num_inference_steps: int | None = None) -> bytes:
        """The edited picture as a PNG file, after one attempt."""
        ((answer, _),) = self.language.answer([prompt])
        wish = read_answer(answer)
        mask, outline = self.mask(image, wish)
        words = caption(wish)
        shown = Wish.of(wish.intent, wish.target, words, wish.replacement)
        paint = paint_of(wish.replacement) if INTENTS[wish.intent].pixels == "paint" else None
        result = self.inpaint(image, mask, outline, words, seed, num_inference_steps, wish=shown, paint=paint)
        picture.encode_mask(result.blended_mask)
        return picture.encode(result.images[0])

    def mask(self, image: bytes, wish: Edit) -> tuple[bytes, bytes]:
        """The edit's mask and the old object's, as PNG files: see `edit_masks`."""
        decoded = picture.decode(image)
        found = self.masker.find(decoded, wish.target, self._segment)
        mask, old = edit_masks(decoded, found.object_mask, found.others, wish.intent)
        return picture.encode_mask(mask), picture.encode_mask(old)

    def inpaint(
        self,
        image: bytes,
        mask: bytes,
        outline: bytes,
        words: str,
        seed: int,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        wish: Wish | None = None,
        paint: Rgb | None = None,
    ) -> InpaintResult:
        """The picture with `words` painted, or its object in another `paint`; it is looked at for `wish`.

        Steps and guidance that are None are the release's own.
        """
        settings = self.assets.settings
        options = Options(
            seed, num_inference_steps or settings.num_inference_steps, guidance_scale or settings.guidance_scale
        )
        decoded = picture.decode(image)
        masks = [picture.decode_mask(file, decoded.size) for file in (mask, outline)]
        request = InpaintRequest(decoded, masks[0], words, options, masks[1], paint)
        look = no_look if wish is None else SecondLook(self.masker, wish, self._segment)
        return result_of(inpaint(self.assets, self.infer, request, look))

    def infer(self, name: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> Mapping[str, np.ndarray]:
        if name not in self._networks:
            folder = self.repository / name
            file = f"configs/{self.config}.pbtxt" if self.config else "config.pbtxt"
            self._networks[name] = Network(folder / "1" / "model.onnx", triton_config(folder / file))
        if name == "unet":  # as Triton's `reshape` does
            inputs = {**inputs, "timestep": inputs["timestep"][:, 0]}
        started = time.perf_counter()
        (answer,) = self._networks[name].run_all([inputs], [outputs])
        self.seconds[name] += time.perf_counter() - started
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _segment(self, pixel_values: np.ndarray, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        inputs = {"pixel_values": pixel_values, "input_ids": input_ids, "attention_mask": attention_mask}
        return self.infer("segmenter", inputs, ["logits"])["logits"]
