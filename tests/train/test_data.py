"""Batches: order and samples depend on the seed alone."""

from collections import Counter

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [torch]")

from synthetic import nuclei_dataset  # noqa: E402

from delineate.dataset import Dataset  # noqa: E402
from delineate.errors import FormatError  # noqa: E402
from delineate.modelfile import Preprocess  # noqa: E402
from delineate.train.config import load_config  # noqa: E402
from delineate.train.data import Pictures, batches, sample_order  # noqa: E402


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return nuclei_dataset(tmp_path_factory.mktemp("pictures"), count=5)


def config(*overrides):
    return load_config(overrides=["size=64", "batch=2", "augment.min_area=1", *overrides])


def test_an_epoch_shows_every_picture_once(dataset):
    assert sorted(sample_order(dataset, config(), 0)) == [0, 1, 2, 3, 4]
    assert sorted(Counter(sample_order(dataset, config("samples=10"), 0)).values()) == [2] * 5
    assert not np.array_equal(sample_order(dataset, config(), 0), sample_order(dataset, config(), 1))


def test_balance_draws_rare_pictures_more_often(dataset):
    kinds = ["common"] * 4 + ["rare"]
    records = [r.replace(attributes={"kind": kind}) for r, kind in zip(dataset, kinds, strict=True)]
    order = sample_order(dataset.with_records(records), config("data.balance=kind", "samples=6000"), 0)
    share = np.mean(order == 4)  # weights 4 x 1/2 and 1 x 1
    assert abs(share - 1 / 3) < 0.03


def test_batches_are_reproducible_and_complete(dataset):
    pictures = Pictures(dataset, 1.0)
    first = list(batches(pictures, config("workers=1"), 3))
    again = list(batches(Pictures(dataset, 0.0), config("workers=3"), 3))
    assert [len(batch.targets) for batch in first] == [2, 2, 1]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.images.dtype is torch.float32
        assert 0 <= one.images.min() <= one.images.max() <= 1
        for target, same in zip(one.targets, other.targets, strict=True):
            assert torch.equal(target.boxes, same.boxes)
            assert target.masks == same.masks
            assert target.masks.size == (64, 64)


def test_the_last_epochs_may_be_plain(dataset):
    plain = config("epochs=2", "plain_epochs=1", "augment.mosaic=1.0")
    mixed, alone = (list(batches(Pictures(dataset, 1.0), plain, epoch)) for epoch in (0, 1))
    without = config("epochs=2", "augment.mosaic=0.0", "augment.copy_paste=0.0")
    same = list(batches(Pictures(dataset, 1.0), without, 1))
    assert torch.equal(alone[0].images, same[0].images)
    assert not torch.equal(mixed[0].images, next(batches(Pictures(dataset, 1.0), without, 0)).images)


PLAIN = [f"augment.{name}=0.0" for name in ("brightness", "contrast", "gamma", "colour", "saturation", "hue")]
PLAIN += [f"augment.{name}=0.0" for name in ("flip", "blur", "noise", "mosaic", "copy_paste")]
VIEW = Preprocess(rule="shortest", multiple=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), channels="bgr")


def test_whole_pictures_are_what_prediction_sees(dataset):
    pictures = Pictures(dataset, 1.0)
    settings = config("sides=[48]", "longest=70", "augment.rotate90=false", *PLAIN)
    (batch,) = batches(pictures, msgspec.structs.replace(settings, batch=5), 0, VIEW)
    view = msgspec.structs.replace(VIEW, size=(48, 70))
    for position, index in enumerate(sample_order(dataset, settings, 0)):
        want, _ = view.apply(pictures[int(index)][0])
        assert np.array_equal(batch.images[position], want[0])
        target = batch.targets[position]
        assert target.size == view.place(dataset[int(index)].size)[1]
        truth = dataset[int(index)].instances.masks.resize(target.size)
        kept = truth[truth.areas > 0].translate(0, 0, want.shape[2:])
        assert target.masks == kept
        assert np.array_equal(target.boxes, kept.boxes)


def test_sides_are_drawn_and_batches_padded(dataset):
    settings = config("sides=[32, 64, 96]", "workers=3")
    first, again = (list(batches(Pictures(dataset, 1.0), settings, epoch)) for epoch in (1, 1))
    sizes = set()
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.images, other.images)
        height, width = one.images.shape[2:]
        for pixels, target in zip(one.images, one.targets, strict=True):
            sizes.add(min(target.size))
            assert target.masks.size == (height, width)
            assert (target.boxes[:, 3] <= target.size[0]).all()
            assert not pixels[:, target.size[0] :].any()
            assert not pixels[:, :, target.size[1] :].any()
    assert sizes <= {32, 64, 96}
    assert len(sizes) > 1


def test_windows_have_the_colours_of_the_model(dataset):
    pictures, settings = Pictures(dataset, 1.0), config("workers=1")
    for plain, seen in zip(batches(pictures, settings, 0), batches(pictures, settings, 0, VIEW), strict=True):
        want = (plain.images.flip(1) - torch.tensor(VIEW.mean).view(3, 1, 1)) / torch.tensor(VIEW.std).view(
            3, 1, 1
        )
        torch.testing.assert_close(seen.images, want)


def test_a_failing_picture_is_named(dataset, tmp_path):
    record = dataset[0].replace(path=tmp_path / "gone.png")
    with pytest.raises(FormatError, match="gone.png"):
        list(batches(Pictures(Dataset((record,), dataset.classes), 1.0), config(), 0))
    wrong = dataset[0].replace(path=_picture(tmp_path / "small.png"))
    with pytest.raises(FormatError, match=r"must have the size .*got \(5, 6\)"):
        list(batches(Pictures(Dataset((wrong,), dataset.classes), 1.0), config(), 0))


def _picture(path):
    from PIL import Image

    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(path)
    return path
