"""Augmentation: pixels and masks must move together, whatever is drawn."""

import numpy as np
import pytest

from delineate.instances import Instances
from delineate.masks import Masks
from delineate.transforms import (
    FILL,
    Augment,
    augment,
    copy_paste,
    flip,
    mosaic,
    photometric,
    random_window,
    resize,
    rotate90,
    samples_needed,
    window,
)

STILL = Augment(
    brightness=0,
    contrast=0,
    gamma=0,
    colour=0,
    saturation=0,
    hue=0,
    blur=0,
    noise=0,
    scale=(1.0, 1.0),
    min_area=1,
)


def painted(height=40, width=60, count=5, seed=0):
    """A picture in which object i is painted with the colour (50 + 30 i, 0, 0), and everything else is blue."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 2] = 200
    dense = np.zeros((count, height, width), bool)
    for index in range(count):
        x = 2 + index * (width // count)
        y = int(rng.integers(0, height - 9))
        dense[index, y : y + 8, x : x + 7] = True
        dense[index, y, x] = False  # not a rectangle, so that flips are visible
        image[dense[index]] = (50 + 30 * index, 0, 0)
    return image, Instances.of(Masks.from_dense(dense), labels=np.arange(count))


def agrees(sample):
    """True where every mask covers exactly the pixels of its object's colour."""
    image, instances = sample
    dense = instances.masks.to_dense()
    return all(
        np.array_equal(mask, (image[..., 0] == 50 + 30 * label) & (image[..., 2] == 0))
        for mask, label in zip(dense, instances.labels, strict=True)
    )


@pytest.mark.parametrize(
    "move",
    [
        lambda s: flip(s),
        lambda s: flip(s, horizontal=False),
        lambda s: rotate90(s, 1),
        lambda s: rotate90(s, 2),
        lambda s: rotate90(s, 3),
        lambda s: window(s, -5, -7, 60, 80),
        lambda s: window(s, 10, 13, 20, 30),
    ],
)
def test_masks_move_with_the_pixels(move):
    before = painted()
    after = move(before)
    assert agrees(before)
    assert agrees(after)
    assert after[1].size == after[0].shape[:2]
    assert np.array_equal(after[1].boxes, after[1].masks.boxes)


def test_four_quarter_turns_and_two_flips_change_nothing():
    image, instances = painted()
    turned = (image, instances)
    for _ in range(4):
        turned = rotate90(turned, 1)
    twice = flip(flip((image, instances)))
    for other in (turned, twice):
        assert np.array_equal(other[0], image)
        assert other[1] == instances


def test_window_outside_the_picture_is_grey_and_empty():
    image, instances = window(painted(), 100, 100, 5, 6)
    assert (image == FILL).all()
    assert image.shape == (5, 6, 3)
    assert not instances.masks.areas.any()


def test_resize_by_a_whole_factor_scales_areas_by_its_square():
    image, instances = painted()
    bigger, scaled = resize((image, instances), (80, 120))
    assert bigger.shape == (80, 120, 3)
    assert np.array_equal(scaled.masks.areas, 4 * instances.masks.areas)


def test_random_window_keeps_all_objects_of_a_smaller_picture():
    _, instances = random_window(painted(), (100, 100), STILL, np.random.default_rng(1))
    assert len(instances) == 5


def test_random_window_drops_what_is_cut_too_much():
    config = Augment(scale=(1.0, 1.0), min_visible=0.999, min_area=1)
    rng = np.random.default_rng(3)
    for _ in range(20):
        _, instances = random_window(painted(), (20, 20), config, rng)
        assert (instances.masks.areas == 55).all()


def test_mosaic_holds_objects_of_all_four():
    samples = [painted(count=1, height=16, width=16, seed=seed) for seed in range(4)]
    samples = [(image, inst.replace(labels=np.array([i]))) for i, (image, inst) in enumerate(samples)]
    image, instances = mosaic(samples, (128, 128), STILL, np.random.default_rng(0))
    assert image.shape == (128, 128, 3)
    assert sorted(instances.labels) == [0, 1, 2, 3]
    assert not np.triu(instances.masks.iou(instances.masks), 1).any()


def test_mosaic_wants_four():
    with pytest.raises(ValueError, match="must have 4 entries, got 1"):
        mosaic([painted()], (64, 64), STILL, np.random.default_rng(0))


def test_pasted_objects_touch_nothing_and_carry_their_pixels():
    rng = np.random.default_rng(0)
    target, source = painted(height=200, width=200), painted(count=2, seed=9)
    before = target[0].copy()
    image, instances = copy_paste(target, source, 2, rng)
    assert np.array_equal(target[0], before)  # the input is left alone
    assert len(instances) == 7
    overlaps = instances.masks.iou(instances.masks)
    assert np.array_equal(overlaps > 0, np.eye(7, dtype=bool))
    dense = instances.masks.to_dense()
    for index in (5, 6):
        assert (image[dense[index]][:, 0] == 50 + 30 * instances.labels[index]).all()


def test_pasting_from_an_empty_picture_changes_nothing():
    sample = painted()
    empty = (np.zeros((8, 8, 3), np.uint8), Instances.empty((8, 8)))
    assert copy_paste(sample, empty, 5, np.random.default_rng(0)) is sample


def test_photometric_without_strength_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(photometric(image, STILL, np.random.default_rng(0)), image)


def test_photometric_negative_and_grey():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    negative = photometric(image, Augment(**{**_fields(STILL), "invert": 1.0}), np.random.default_rng(0))
    assert np.array_equal(negative, 255 - image)
    grey = photometric(image, Augment(**{**_fields(STILL), "grey": 1.0}), np.random.default_rng(0))
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    luma = image @ [0.299, 0.587, 0.114]
    assert np.abs(grey[..., 0] - luma).max() <= 1.5


def test_photometric_stays_in_range_and_moves_with_full_strength():
    config = Augment(brightness=0.5, contrast=1, gamma=1, colour=0.5, saturation=1, hue=0.5, blur=1, noise=1)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    outputs = [photometric(image, config, rng) for _ in range(10)]
    assert all(out.dtype == np.uint8 and out.shape == image.shape for out in outputs)
    assert len({out.tobytes() for out in outputs}) == 10


@pytest.mark.parametrize("seed", range(8))
def test_augment_is_a_function_of_the_seed(seed):
    config = Augment(mosaic=0.5, copy_paste=0.5)
    results = []
    for _ in range(2):
        rng = np.random.default_rng(seed)
        count = samples_needed(config, rng)
        results.append(augment([painted(seed=i) for i in range(count)], (64, 64), config, rng))
    (image, instances), (again, same) = results
    assert np.array_equal(image, again)
    assert instances == same
    assert image.shape == (64, 64, 3)
    assert instances.size == (64, 64)
    assert (instances.masks.areas > 0).all()


def test_augment_geometry_keeps_pixels_and_masks_together():
    config = Augment(**{**_fields(STILL), "mosaic": 0.0, "copy_paste": 0.0})
    for seed in range(10):
        assert agrees(augment([painted()], (64, 64), config, np.random.default_rng(seed)))


def test_boxes_alone_are_refused():
    boxes = Instances((8, 8), [[0, 0, 4, 4]], [0])
    with pytest.raises(ValueError, match="must have masks"):
        flip((np.zeros((8, 8, 3), np.uint8), boxes))


def test_an_empty_picture_passes_through_everything():
    empty = (np.zeros((20, 30, 3), np.uint8), Instances.empty((20, 30)))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        count = samples_needed(Augment(), rng)
        image, instances = augment([empty] * count, (32, 32), Augment(), rng)
        assert image.shape == (32, 32, 3)
        assert len(instances) == 0


def _fields(config):
    return {name: getattr(config, name) for name in Augment.__struct_fields__}


def test_crowds_move_and_are_neither_dropped_nor_pasted():
    """What a window cuts becomes a crowd where there are crowds; pasted objects come behind them."""
    masks = Masks.from_dense(np.array([[[1, 1, 1, 1]] * 4, [[0, 0, 0, 1]] * 4], bool))
    sample = np.zeros((4, 4, 3), np.uint8), Instances.of(masks, crowd=[True, False])
    config = Augment(scale=(1.0, 1.0), min_area=5)
    _, found = random_window(sample, (4, 4), config, np.random.default_rng(0))
    assert found.crowd.tolist() == [True, True]
    _, pasted = copy_paste((sample[0], sample[1][:1]), (sample[0], sample[1]), 9, np.random.default_rng(0))
    assert pasted.crowd.tolist() == [True, False]
