"""The demo world and the crops that its networks learn from."""

import numpy as np
import pytest
from PIL import Image

from export.demo import captions, crops, pools, world
from export.demo.backdrop import CUT_OUT
from export.demo.plans import Placed, Plan
from export.demo.train_unet import CONTEXT, text_parts
from serving.intents import INTENTS

BALL = Placed("ball", "red", (0.4, 0.4, 0.6, 0.6), (200, 30, 30), False, 0.0)
LAWN = Plan("lawn", 1.0, 0.4, (0.7, -0.7), 1.0, (), 3)


def test_scenes_of_known_seeds_stay_as_they_are():
    scene = world.scene(1_000_003)
    things = [(thing.kind, thing.box) for thing in scene.things]
    assert things == [("chair", (492, 271, 659, 524)), ("car", (67, 472, 367, 659))]
    assert np.allclose(scene.image.mean((0, 1)), [130.9, 157.45, 160.85], atol=0.2)


@pytest.mark.parametrize("intent", crops.SHARES)
def test_a_crop_is_as_the_server_sees_it(intent):
    seed = next(seed for seed in range(100) if crops.example(seed).intent == intent)
    once, again = crops.example(seed), crops.example(seed)
    assert np.array_equal(once.image, again.image)
    assert once.image.shape == (192, 192, 3)
    assert 0.01 < once.mask.mean() < 1
    assert (once.kind is None) == (intent in ("remove", "background"))


def test_what_is_added_and_its_shadow_lie_inside_the_hole():
    shares = []
    for seed in range(6):
        drawn = crops.EDITS["add"](np.random.default_rng(seed), world.plan(seed))
        change = np.abs(drawn.after.astype(int) - drawn.before).sum(-1)
        shares.append(change[drawn.mask >= 128].sum() / change.sum())
    assert min(shares) > 0.97


def test_a_shadow_falls_on_the_ground_or_on_what_the_thing_stands_on_alone():
    ground, shelf, bare = (Image.new("RGB", (100, 100), (200, 200, 200)) for _ in range(3))
    alpha = world.stand(ground, BALL, LAWN)
    world.stand(shelf, BALL, LAWN, np.zeros((100, 100), np.uint8))
    world.stand(bare, BALL, Plan(CUT_OUT, 1.0, 0.4, (0.7, -0.7), 1.0, (), 3))
    beside = alpha == 0
    assert np.asarray(ground)[beside].min() < 190
    assert np.asarray(shelf)[beside].min() == np.asarray(bare)[beside].min() == 200


def test_a_cut_out_lies_on_white():
    planned = Plan(CUT_OUT, 1.0, 0.4, (0.7, -0.7), 1.0, (BALL,), 3)
    drawn = world.draw(planned, (100, 100))
    assert (drawn.image[drawn.things[0].mask == 0] == 255).all()


def test_captions_fit_the_text_encoder_and_say_what_serving_says():
    tokenizer, _ = text_parts()
    rng = np.random.default_rng(0)
    said = {captions.of_place(rng, place, BALL) for place in world.PLACES for _ in range(20)} | {*captions.every()}
    for text in said:
        tokens = tokenizer(text).input_ids
        assert len(tokens) <= CONTEXT
        assert tokenizer.unk_token_id not in tokens[1:-1]
    assert captions.EMPTY == INTENTS["remove"].caption
    assert set(captions.PLACES) == set(world.PLACES)


def test_training_never_draws_held_out_seeds(tmp_path):
    with pytest.raises(ValueError, match="held-out"):
        pools.draw(world.HELD_OUT + pools.PART, tmp_path)
