"""The mask step's numpy front end against transformers' own processor and model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPSegForImageSegmentation

from export.mask import write_assets
from export.presets import DEMO_WEIGHTS
from serving.segmentation.segmenter import Masker
from tests import checkpoints

PHRASES = ["car", "red car", "a unicorn, on the left!"]


@pytest.fixture(scope="module", params=["random", "demo"])
def checkpoint(request, tmp_path_factory):
    if request.param == "demo":
        return DEMO_WEIGHTS / "mask"
    folder = tmp_path_factory.mktemp("checkpoint")
    checkpoints.write_mask(folder)
    return folder


@pytest.fixture(scope="module")
def masker(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    assets = write_assets(checkpoint, folder, {"threshold": 0.5, "template": "{}"})
    (folder / "mask.json").write_text(json.dumps(assets), encoding="utf-8")
    return Masker(folder)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC))


def test_pixels_equal_the_processors(checkpoint, masker, image):
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    wanted = processor(Image.fromarray(image), return_tensors="np").pixel_values[0]
    assert np.abs(masker.pixels(image) - wanted).max() < 1e-5


def test_tokens_equal_the_tokenizers(checkpoint, masker):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    limit = masker.settings.context_length
    wanted = tokenizer(PHRASES, padding="max_length", max_length=limit, truncation=True, return_tensors="np")
    ids, attention = masker.tokens(PHRASES)
    assert (ids == wanted.input_ids).all()
    assert (attention == wanted.attention_mask).all()


@torch.no_grad()
def test_padding_to_the_context_leaves_the_logits(checkpoint, masker, image):
    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ids, attention = (torch.from_numpy(array) for array in masker.tokens(PHRASES))
    pixels = torch.from_numpy(masker.pixels(image))[None].repeat(len(PHRASES), 1, 1, 1)
    padded = model(pixel_values=pixels, input_ids=ids, attention_mask=attention).logits
    for row, length in enumerate(attention.sum(1)):
        alone = model(
            pixel_values=pixels[:1],
            input_ids=ids[row : row + 1, :length],
            attention_mask=attention[row : row + 1, :length],
        ).logits
        difference = (alone.reshape(padded[row].shape) - padded[row]).abs().max()
        assert difference < 1e-5 * padded[row].abs().max()
