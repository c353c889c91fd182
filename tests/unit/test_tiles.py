"""Long pictures: seen in tiles along their longer side, and the maps of those joined into one."""

import itertools

import numpy as np
import pytest

from serving.imaging.picture import Picture
from serving.segmentation.refine import resize
from serving.segmentation.regions import find_regions
from serving.segmentation.segmenter import MOST_ROWS
from serving.segmentation.tiles import MOST, join, tiles
from tests.unit.test_masking import disc, redness, write_masker

LONG = [(8192, 512), (500, 2000), (500, 4000), (1500, 500), (64, 8192), (8192, 1)]


@pytest.mark.parametrize("size", [(512, 512), (1024, 512), (500, 1000), (1, 1)])
def test_a_picture_that_is_not_long_is_seen_whole(size):
    assert tiles(size) == [(0, 0, *size)]


@pytest.mark.parametrize("size", LONG)
def test_tiles_cover_a_long_picture_and_each_half_of_the_next(size):
    windows, along = tiles(size), 0 if size[0] > size[1] else 1
    assert 2 < len(windows) <= MOST
    spans = [(window[along], window[along + 2]) for window in windows]
    assert (spans[0][0], spans[-1][1]) == (0, max(size))
    assert all((window[1 - along], window[3 - along]) == (0, min(size)) for window in windows)
    for (start, end), (following, _) in itertools.pairwise(spans):
        assert following == pytest.approx((start + end) / 2, abs=1)


@pytest.mark.parametrize("size", [(3000, 500), (500, 3000), (4000, 335)])
def test_a_map_cut_into_tiles_is_joined_to_the_same_map(size):
    width, height = size[0] // 5, size[1] // 5
    across, down = np.meshgrid(np.linspace(-3, 3, width), np.linspace(-1, 2, height))
    whole, windows = (np.sin(across) + down).astype(np.float32), tiles(size)
    rows = [resize(whole, (64, 64), tuple(np.array(window) / 5)) for window in windows]
    joined = join(np.stack(rows), windows)
    assert sorted(joined.shape) == [64, 32 * (len(windows) + 1)]
    again = resize(joined, (width, height))
    inside = np.s_[5:-5, 5:-5]
    assert np.abs(again - whole)[inside].max() < 0.05


def test_a_speck_of_a_long_picture_is_as_large_as_one_of_a_square():
    square, long = np.zeros((160, 160), np.float32), np.zeros((160, 2560), np.float32)
    square[50:60, 50:60] = long[50:60, 1050:1060] = 0.9
    assert len(find_regions(square, 0.5)) == len(find_regions(long, 0.5)) == 1
    long[100, 2000:2020] = 0.9
    assert len(find_regions(long, 0.5)) == 1


@pytest.mark.parametrize("size", [(8192, 512), (500, 2000), (500, 4000), (2400, 400)])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.93])
def test_a_lone_thing_that_a_network_knows_unsqueezed_only_is_found(tmp_path, size, place):
    def seen(pixels: np.ndarray, ids: np.ndarray, attention: np.ndarray) -> np.ndarray:
        assert len(pixels) <= MOST_ROWS
        logits = redness(pixels, ids, attention)
        for row in logits:
            ys, xs = np.nonzero(row > 0)
            if len(ys) and not 0.4 < np.ptp(xs) / max(np.ptp(ys), 1) < 2.5:
                row[:] = -5  # no ball: too narrow or too flat
        return logits

    width, height = size
    centre = (width * place, height / 2) if width > height else (width / 2, height * place)
    truth = disc(height, width, *centre, 0.12 * min(size))
    pixels = np.where(truth[..., None], (220, 30, 30), (90, 140, 90)).astype(np.uint8)
    got = write_masker(tmp_path).find(Picture("RGB", pixels), "red ball", seen).object_mask >= 128
    assert (got & truth).sum() / (got | truth).sum() > 0.9
