"""From a `Dataset` to batches: cached pictures, augmentation in threads, an order that depends on the seed alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from delineate.dataset import Dataset, Record
from delineate.errors import FormatError
from delineate.image import read_image
from delineate.instances import Instances
from delineate.modelfile import Preprocess
from delineate.models import Target
from delineate.prompt import fitted
from delineate.train.config import TrainConfig
from delineate.transforms import Augment, Sample, augment, augment_whole, resize, samples_needed


class Batch(NamedTuple):
    """What one training step sees."""

    images: torch.Tensor  # (B, 3, H, W) float32; RGB in [0, 1] unless the model wants other colours
    targets: list[Target]


class Pictures:
    """Reads the pictures of a dataset and keeps them in memory up to a bound.

    Args:
        dataset: Records with pictures and masks.
        gigabytes: The bound on the decoded pictures that are kept.
        preprocess: Its contrast stretch is applied, so that training sees what prediction will see; None for none.
        side: The longest side is scaled to so many pixels, as promptable models see pictures; 0 = left as it is.
    """

    def __init__(
        self, dataset: Dataset, gigabytes: float, preprocess: Preprocess | None = None, *, side: int = 0
    ) -> None:
        self.dataset, self._side = dataset, side
        self._preprocess = preprocess
        self._left = int(gigabytes * 1e9)
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, index: int) -> Sample:
        record = self.dataset[index]
        image = self._kept.get(index)
        if image is None:
            image = read_picture(record)
            if self._preprocess is not None:
                image = self._preprocess.stretched(image)
            if self._side:
                image, _ = resize((image, Instances.empty(record.size)), fitted(record.size, self._side))
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[index] = image
        instances = (
            record.instances if record.instances.crowd is None else record.instances[~record.instances.crowd]
        )
        if instances.size != image.shape[:2] and instances.masks is not None:
            masks = instances.masks.resize((image.shape[0], image.shape[1]))
            instances = instances.replace(size=masks.size, masks=masks, boxes=masks.boxes)
        return image, instances


def read_picture(record: Record) -> NDArray[np.uint8]:
    """The picture of a record, checked against the size that its annotations state.

    Raises:
        FormatError: The picture is missing, unreadable, or of another size.
    """
    if record.path is None:
        raise FormatError("", f"record {record.id}", "a record to train on must have a picture.")
    image = read_image(record.path)
    if image.shape[:2] != tuple(record.size):
        turned = read_image(record.path, orient=False)
        if turned.shape[:2] != tuple(record.size):
            raise FormatError(
                record.path,
                "",
                f"the picture must have the size {tuple(record.size)} (height, width) that its annotations state, "
                f"got {image.shape[:2]}. Correct the annotation file or the picture.",
            )
        image = turned  # annotated without regard to the EXIF orientation, as COCO is
    return image


def batches(
    pictures: Pictures, config: TrainConfig, epoch: int, preprocess: Preprocess | None = None
) -> Iterator[Batch]:
    """The batches of one epoch. Sample i depends only on (seed, epoch, i): resumed runs see the same ones.

    Args:
        pictures: The pictures to learn from.
        config: Batch size, sample size, augmentation, workers.
        epoch: Counted from 0.
        preprocess: How prediction will present pictures: its colours, and with `config.sides` its resizing. None =
            RGB in [0, 1].
    """
    settings = config.augment
    if epoch >= config.epochs - config.plain_epochs:
        settings = _plain(settings)
    order = sample_order(pictures.dataset, config, epoch)
    view = replace(preprocess or Preprocess(), stretch=None)  # `pictures` are stretched

    def prepare(position: int) -> tuple[torch.Tensor, Target]:
        rng = np.random.default_rng((config.seed, epoch, position))
        if config.sides:
            sample = augment_whole(pictures[int(order[position])], settings, rng)
            size = int(rng.choice(config.sides)), config.longest
            return whole(sample, replace(view, rule="shortest", size=size), settings.min_area)
        others = rng.integers(len(pictures.dataset), size=samples_needed(settings, rng) - 1)
        samples = [pictures[int(order[position])], *(pictures[int(other)] for other in others)]
        return to_tensors(augment(samples, (config.size, config.size), settings, rng))

    with ThreadPoolExecutor(config.workers, thread_name_prefix="samples") as pool:
        positions = iter(range(len(order)))
        ahead: list[Future[tuple[torch.Tensor, Target]]] = [
            pool.submit(prepare, position) for position in islice(positions, 3 * config.batch)
        ]
        try:
            while ahead:
                ready = [future.result() for future in ahead[: config.batch]]
                del ahead[: config.batch]
                ahead += [pool.submit(prepare, position) for position in islice(positions, config.batch)]
                yield padded(ready) if config.sides else stacked(ready, view)
        finally:
            for future in ahead:
                future.cancel()


def stacked(samples: Sequence[tuple[torch.Tensor, Target]], view: Preprocess) -> Batch:
    """A batch of uint8 samples of one size, in the colours of `view`."""
    images = torch.stack([pixels for pixels, _ in samples]).float().div_(255)
    if view.channels == "bgr":
        images = images.flip(1)
    if view.mean != (0.0, 0.0, 0.0) or view.std != (1.0, 1.0, 1.0):
        images.sub_(torch.tensor(view.mean).view(3, 1, 1)).div_(torch.tensor(view.std).view(3, 1, 1))
    return Batch(images, [target for _, target in samples])


def whole(sample: Sample, view: Preprocess, min_area: int) -> tuple[torch.Tensor, Target]:
    """A whole picture as prediction presents it; objects of fewer than `min_area` input pixels are dropped."""
    image, instances = sample
    if instances.masks is None:
        raise ValueError("train: instances must have masks, got boxes alone. Convert them to masks first.")
    tensor, _ = view.apply(np.ascontiguousarray(image))
    canvas, content, _ = view.place(image.shape[:2])
    masks = instances.masks.resize(content)
    seen = masks.areas >= max(min_area, 1)
    masks = masks[seen].translate(0, 0, canvas)
    labels = torch.from_numpy(instances.labels[seen].copy())
    return torch.from_numpy(tensor[0]), Target(torch.tensor(masks.boxes), labels, masks, content)


def padded(samples: Sequence[tuple[torch.Tensor, Target]]) -> Batch:
    """A batch of prepared pictures of several sizes, zeros to the right and below."""
    height, width = (max(pixels.shape[side] for pixels, _ in samples) for side in (1, 2))
    images = torch.zeros((len(samples), 3, height, width))
    targets = []
    for canvas, (pixels, target) in zip(images, samples, strict=True):
        canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        masks = None if target.masks is None else target.masks.translate(0, 0, (height, width))
        targets.append(target._replace(masks=masks))
    return Batch(images, targets)


def sample_order(dataset: Dataset, config: TrainConfig, epoch: int) -> NDArray[np.int64]:
    """Which pictures an epoch shows, in random order.

    Without `data.balance` each picture comes as often as any other (give or take one). With it, a picture is drawn with
    a weight of one over the square root of how many pictures share its value of that attribute.
    """
    count = len(dataset)
    wanted = config.samples or count
    rng = np.random.default_rng((config.seed, epoch))
    if not config.data.balance:
        rounds = [rng.permutation(count) for _ in range(-(-wanted // count))]
        return np.concatenate(rounds)[:wanted]
    values = [str(record.attributes.get(config.data.balance)) for record in dataset]
    frequency = Counter(values)
    weights = np.array([frequency[value] ** -0.5 for value in values])
    return rng.choice(count, size=wanted, p=weights / weights.sum())


def to_tensors(sample: Sample) -> tuple[torch.Tensor, Target]:
    """A sample as an uint8 (3, H, W) tensor and a `Target`."""
    image, instances = sample
    boxes, labels = torch.tensor(instances.boxes), torch.tensor(instances.labels)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return pixels, Target(boxes, labels, instances.masks)


def _plain(settings: Augment) -> Augment:
    values = {name: getattr(settings, name) for name in Augment.__struct_fields__}
    return Augment(**{**values, "mosaic": 0.0, "copy_paste": 0.0})


def check_trainable(dataset: Dataset, name: str) -> None:
    """Refuses a dataset that cannot be learnt from, naming what is wrong.

    Raises:
        FormatError: No pictures, no objects, no masks, or a picture that does not exist.
    """
    if not len(dataset):
        raise FormatError(name, "", "a dataset to train on must have at least one picture, got none.")
    if not any(len(record.instances) for record in dataset):
        raise FormatError(name, "", f"none of the {len(dataset)} pictures has an annotated object.")
    missing = [record for record in dataset if record.path is None or not record.path.is_file()]
    if missing:
        first = missing[0].path or f"record {missing[0].id}"
        raise FormatError(
            name,
            "",
            f"{len(missing)} of {len(dataset)} pictures do not exist, the first is {first}. "
            "Put them beside the annotation file or into a folder 'images' there.",
        )
    for record in dataset:
        if len(record.instances) and record.instances.masks is None:
            raise FormatError(
                name, f"record {record.id}", "objects must have masks to train on, got boxes alone."
            )


def check_classes(train: Sequence[str], val: Sequence[str], name: str) -> None:
    """Refuses a validation set whose classes are not those of the training set."""
    if tuple(train) != tuple(val):
        raise FormatError(
            name,
            "",
            f"the classes of the validation set must be those of the training set, {list(train)}, got {list(val)}.",
        )
