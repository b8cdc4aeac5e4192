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
from delineate.metrics.semantic import UNKNOWN
from delineate.modelfile import Preprocess
from delineate.models import Target
from delineate.panoptic import PanopticDataset, PanopticRecord
from delineate.prompt import Conventions
from delineate.train.config import TrainConfig
from delineate.train.truth import Roles
from delineate.transforms import (
    Augment,
    Sample,
    augment,
    augment_whole,
    resize,
    samples_needed,
    without,
)


class Batch(NamedTuple):
    """What one training step sees."""

    images: torch.Tensor  # (B, 3, H, W) float32; RGB in [0, 1] unless the model wants other colours
    targets: list[Target]


class Canvas(NamedTuple):
    """How large pictures become for a promptable model.

    >>> Canvas(64).content((50, 100))
    (32, 64)
    """

    side: int  # of the input
    conventions: Conventions = Conventions()

    def content(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of a picture on it."""
        return self.conventions.content(size, self.side)


class Pictures:
    """Reads the pictures of a dataset and keeps them in memory up to a bound.

    Args:
        dataset: Records with pictures and masks.
        gigabytes: The bound on the decoded pictures that are kept.
        preprocess: Its contrast stretch is applied, so that training sees what prediction will see; None for none.
        canvas: Pictures are scaled as a promptable model sees them; None = left as they are.
        roles: What the classes are to a model that names the class of every pixel: then samples hold all regions,
            those that are no single objects as crowds. None = objects alone, without crowds.
    """

    def __init__(
        self,
        dataset: Dataset | PanopticDataset,
        gigabytes: float,
        preprocess: Preprocess | None = None,
        *,
        canvas: Canvas | None = None,
        roles: Roles | None = None,
    ) -> None:
        self.dataset, self._canvas, self.roles = dataset, canvas, roles
        self._preprocess = preprocess
        self._left = int(gigabytes * 1e9)
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._regions: dict[int, Instances] = {}  # read from maps; as runs they are small

    def __getitem__(self, index: int) -> Sample:
        record = self.dataset[index]
        image = self._kept.get(index)
        if image is None:
            image = read_picture(record)
            if self._preprocess is not None:
                image = self._preprocess.stretched(image)
            if self._canvas is not None:
                image, _ = resize((image, Instances.empty(record.size)), self._canvas.content(record.size))
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[index] = image
        instances = self._truth(index, record)
        if instances.size != image.shape[:2] and instances.masks is not None:
            masks = instances.masks.resize((image.shape[0], image.shape[1]))
            instances = instances.replace(size=masks.size, masks=masks, boxes=masks.boxes)
        return image, instances

    def _truth(self, index: int, record: Record | PanopticRecord) -> Instances:
        if isinstance(record, PanopticRecord):
            if self.roles is None:
                raise ValueError("Pictures: a panoptic dataset must come with roles, got none.")
            if index not in self._regions:
                self._regions[index] = self.roles.regions(record.read())
            return self._regions[index]
        instances = record.instances
        if self.roles is not None:
            return self.roles.regions(instances)
        return instances if instances.crowd is None else instances[~instances.crowd]


def read_picture(record: Record | PanopticRecord) -> NDArray[np.uint8]:
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
            return whole(sample, replace(view, rule="shortest", size=size), settings.min_area, pictures.roles)
        others = rng.integers(len(pictures.dataset), size=samples_needed(settings, rng) - 1)
        samples = [pictures[int(order[position])], *(pictures[int(other)] for other in others)]
        return to_tensors(augment(samples, (config.size, config.size), settings, rng), pictures.roles)

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


def whole(
    sample: Sample, view: Preprocess, min_area: int, roles: Roles | None = None
) -> tuple[torch.Tensor, Target]:
    """A whole picture as prediction presents it; objects of fewer than `min_area` input pixels are dropped.

    Args:
        sample: The picture and its instances, or with `roles` its regions.
        view: How prediction presents it.
        min_area: The least that is an object.
        roles: Of models that name the class of every pixel.
    """
    image, instances = sample
    if instances.masks is None:
        raise ValueError("train: instances must have masks, got boxes alone. Convert them to masks first.")
    tensor, _ = view.apply(np.ascontiguousarray(image))
    canvas, content, _ = view.place(image.shape[:2])
    small = instances.masks.resize(content)
    masks = small.translate(0, 0, canvas)
    instances = instances.replace(size=canvas, masks=masks, boxes=masks.boxes)
    instances = without(instances, small.areas < max(min_area, 1))
    return torch.from_numpy(tensor[0]), _target(instances, roles)._replace(size=content)


def padded(samples: Sequence[tuple[torch.Tensor, Target]]) -> Batch:
    """A batch of prepared pictures of several sizes, zeros to the right and below."""
    height, width = (max(pixels.shape[side] for pixels, _ in samples) for side in (1, 2))
    images = torch.zeros((len(samples), 3, height, width))
    targets = []
    for canvas, (pixels, target) in zip(images, samples, strict=True):
        canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        masks = None if target.masks is None else target.masks.translate(0, 0, (height, width))
        semantic = target.semantic
        if semantic is not None:
            rest = 0, width - semantic.shape[1], 0, height - semantic.shape[0]
            semantic = torch.nn.functional.pad(semantic, rest, value=UNKNOWN)
        targets.append(target._replace(masks=masks, semantic=semantic))
    return Batch(images, targets)


def sample_order(dataset: Dataset | PanopticDataset, config: TrainConfig, epoch: int) -> NDArray[np.int64]:
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


def to_tensors(sample: Sample, roles: Roles | None = None) -> tuple[torch.Tensor, Target]:
    """A sample as an uint8 (3, H, W) tensor and a `Target`; with `roles` its crowds teach the class of pixels."""
    image, instances = sample
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return pixels, _target(instances, roles)


def _target(instances: Instances, roles: Roles | None) -> Target:
    semantic = None if roles is None else torch.from_numpy(roles.semantic(instances))
    if instances.crowd is not None:
        instances = instances[~instances.crowd]
    boxes, labels = torch.tensor(instances.boxes), torch.tensor(instances.labels)
    return Target(boxes, labels, instances.masks, semantic=semantic)


def _plain(settings: Augment) -> Augment:
    values = {name: getattr(settings, name) for name in Augment.__struct_fields__}
    return Augment(**{**values, "mosaic": 0.0, "copy_paste": 0.0})
