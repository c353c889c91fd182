"""Alpha follows the object, on drawn cut-outs: through `inpaint`, its networks answering with a true picture."""

import numpy as np
import pytest
from inpaint_release import SIZE, Networks, write
from PIL import Image

from export.demo.objects import COLOURS, draw_object
from serving.diffusion.assets import Assets
from serving.diffusion.inpaint import InpaintRequest, InpaintResult, inpaint, result_of
from serving.diffusion.options import Options
from serving.imaging.composite import Sight
from serving.imaging.crop import choose_crop
from serving.imaging.picture import Picture, decode, encode
from serving.segmentation.edit_mask import edit_mask

SIDE = 128
OPTIONS = Options(1, 1, 1.0)


def sheet(kind: str, colour: str, wide: int = 60) -> np.ndarray:
    """A drawn thing on a transparent sheet whose hidden colours are garbage: uint8 [SIDE, SIDE, 4]."""
    thing = draw_object(kind, COLOURS[colour], wide, wide, flip=False, tilt=0, light=(0.7, -0.7))
    alpha = Image.new("L", (SIDE, SIDE))
    canvas = Image.fromarray(np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    corner = ((SIDE - thing.width) // 2, 100 - thing.height)
    canvas.paste(thing, corner, thing)
    alpha.paste(thing.getchannel("A"), corner)
    return np.dstack([np.asarray(canvas), np.asarray(alpha)])


CAR, DOG = sheet("car", "red"), sheet("dog", "blue", 50)
OLD, NEW = CAR[..., 3], DOG[..., 3] / 255.0


class Painter(Networks):
    """Paints `image`, float [SIZE, SIZE, 3] in 0 … 255."""

    def __init__(self, image: np.ndarray):
        super().__init__()
        self.image = image

    def infer(self, network, inputs, outputs, **options):
        answer = super().infer(network, inputs, outputs, **options)
        if network != "vae_decoder":
            return answer
        return {outputs[0]: (self.image.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)}


@pytest.fixture
def edited(tmp_path):
    """An edit of a picture whose model paints `shown`, and whose second look sees `thing`, both at the crop's size."""
    write(tmp_path)
    assets = Assets.read(tmp_path)

    def edit(picture: Picture, intent: str, shown: np.ndarray, thing: np.ndarray | None = None) -> InpaintResult:
        mask = edit_mask(OLD, intent)
        crop = choose_crop(mask, SIZE)
        painted = crop.cut(Picture("RGBA", shown), mask).image
        seen = None if thing is None else crop.cut_mask(np.rint(thing * 255).astype(np.uint8))
        paint = (45, 95, 205) if intent == "recolour" else None
        request = InpaintRequest(picture, mask, "a dog", OPTIONS, OLD, paint)
        sights = [Sight(seen, 1.0)] if thing is not None else None
        return result_of(inpaint(assets, Painter(painted).infer, request, lambda *given: sights))

    return edit


EMPTY = np.zeros_like(CAR)


@pytest.mark.parametrize("looked", [True, False])
def test_what_is_removed_from_a_cut_out_is_transparent_and_its_colours_have_gone(edited, looked):
    result = edited(Picture("RGBA", CAR), "remove", EMPTY, np.zeros(OLD.shape) if looked else None)
    (image,) = result.images
    assert image.pixels[..., 3].max() == 0
    assert image.pixels[OLD == 255][:, :3].min() > 250
    assert result.background_difference == 0


@pytest.mark.parametrize("looked", [True, False])
def test_a_new_thing_on_a_cut_out_has_its_own_alpha(edited, looked):
    (image,) = edited(Picture("RGBA", CAR), "replace", DOG, NEW if looked else None).images
    alpha = image.pixels[..., 3] / 255
    assert np.abs(alpha - NEW).mean() < 0.02
    assert ((alpha > 0.5) & (NEW > 0.5)).sum() / ((alpha > 0.5) | (NEW > 0.5)).sum() > 0.85
    assert np.abs(image.pixels[NEW == 1][:, :3].astype(int) - DOG[NEW == 1][:, :3]).mean() < 25


def test_hidden_colours_do_not_matter(edited):
    plain = CAR.copy()
    plain[OLD == 0, :3] = 0
    results = [edited(Picture("RGBA", picture), "replace", DOG).images[0].pixels for picture in (CAR, plain)]
    seen = results[0][..., 3] > 0
    assert (results[0][..., 3] == results[1][..., 3]).all()
    assert np.abs(results[0][seen].astype(int) - results[1][seen]).max() <= 1


@pytest.mark.parametrize("intent", ["remove", "replace"])
def test_outside_the_mask_every_byte_of_a_cut_out_stays(edited, intent):
    result = edited(Picture("RGBA", CAR), intent, DOG)
    kept = result.blended_mask == 0
    assert (result.images[0].pixels[kept] == CAR[kept]).all()
    assert kept.any()


def test_a_recoloured_thing_keeps_its_alpha(edited):
    (image,) = edited(Picture("RGBA", CAR), "recolour", sheet("car", "blue")).images
    assert (image.pixels[..., 3] == OLD).all()
    assert (image.pixels != CAR).any()


@pytest.mark.parametrize("intent", ["remove", "replace"])
def test_a_photograph_with_an_alpha_channel_is_edited_as_one_without(edited, intent):
    photograph = np.dstack([CAR[..., :3], np.full(OLD.shape, 255, np.uint8)])
    (opaque,) = edited(Picture("RGBA", photograph), intent, DOG).images
    (plain,) = edited(Picture("RGB", photograph[..., :3]), intent, DOG).images
    assert (opaque.pixels[..., 3] == 255).all()
    assert (opaque.pixels[..., :3] == plain.pixels).all()


def test_a_real_background_with_round_corners_stays_opaque(edited):
    rounded = np.dstack([CAR[..., :3], np.full(OLD.shape, 255, np.uint8)])
    rounded[:12, :12, 3] = 0
    (image,) = edited(Picture("RGBA", rounded), "remove", EMPTY).images
    assert (image.pixels[..., 3] == rounded[..., 3]).all()


def test_grey_cut_outs_and_palettes_follow_too(edited):
    grey = np.asarray(Image.fromarray(CAR).convert("LA"))
    (image,) = edited(Picture("LA", grey), "replace", DOG, NEW).images
    assert np.abs(image.pixels[..., 1] / 255 - NEW).mean() < 0.02
    hard = CAR.copy()
    hard[..., 3] = np.where(OLD >= 128, 255, 0)
    paletted = Image.fromarray(hard[..., :3]).quantize(255)
    indices = np.where(hard[..., 3] == 255, np.asarray(paletted), 255).astype(np.uint8)
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    colours = np.asarray(paletted.getpalette(), np.uint8).reshape(-1, 3)
    palette[: len(colours), :3] = colours
    palette[255] = 0
    (image,) = edited(Picture("P", indices[..., None], palette), "replace", DOG, NEW).images
    again = decode(encode(image)).rgba()
    assert (again[..., 3] == np.where(NEW > 0.5, 255, 0)).mean() > 0.97
    assert np.abs(again[NEW == 1][:, :3].astype(int) - DOG[NEW == 1][:, :3]).mean() < 30
    (image,) = edited(Picture("P", indices[..., None], palette), "remove", EMPTY, np.zeros(OLD.shape)).images
    assert decode(encode(image)).rgba()[..., 3].max() == 0
