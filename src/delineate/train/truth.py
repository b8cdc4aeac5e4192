"""What a run learns from: the datasets of its configuration, and what their classes are to its model.

Networks that find objects learn from COCO files; panoptic ones from data that say what every pixel is; semantic ones
from either. Segments of such data travel as runs: things are objects, and what teaches no more than the class of its
pixels (stuff, groups of objects, objects that a window cuts) is a crowd among them. So one transform moves all of them,
and a map of classes is painted only when a sample is ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from delineate import formats, models
from delineate.algebra import to_label_map
from delineate.dataset import Dataset
from delineate.errors import FormatError
from delineate.formats import coco
from delineate.instances import Instances
from delineate.metrics.semantic import UNKNOWN
from delineate.panoptic import Panoptic, PanopticDataset
from delineate.train.config import TrainConfig

_BACKGROUND = ("background", "_background_", "__background__")


@dataclass(frozen=True, eq=False)
class Roles:
    """What the classes of a dataset are to a network that names the class of every pixel.

    Args:
        classes: The model's classes: of panoptic models the things, of semantic ones all but the background.
        stuff: The stuff of panoptic models; () for semantic ones.
        labels: (K,) int64: for each class of the data the model's label, things first, then the stuff.
        values: (K,) int64: for each label of the model what `Target.semantic` says of its pixels.
        rest: What it says of pixels of no segment: `UNKNOWN`, or 0 where they are background.
    """

    classes: tuple[str, ...]
    stuff: tuple[str, ...]
    labels: NDArray[np.int64]
    values: NDArray[np.int64]
    rest: int = UNKNOWN

    def regions(self, picture: Panoptic | Instances) -> Instances:
        """The segments of a picture with the model's labels; what is no single object is a crowd.

        Args:
            picture: Of a dataset with these roles.
        """
        if isinstance(picture, Instances):
            crowd = np.zeros(len(picture), bool) if picture.crowd is None else picture.crowd
            return picture.replace(crowd=crowd, labels=self.labels[picture.labels])
        found = picture.to_instances(stuff=True)
        return found.replace(
            labels=self.labels[found.labels], crowd=picture.crowd | ~picture.things, ids=None
        )

    def semantic(self, regions: Instances) -> NDArray[np.int32]:
        """The class of every pixel, as `Target.semantic` has it; objects lie on crowds, later ones on earlier ones.

        Args:
            regions: What `regions` gave, transformed or not.

        Returns:
            (H, W) int32.
        """
        if regions.masks is None or regions.crowd is None:
            raise ValueError(
                "Roles.semantic: regions must have masks and crowds. Make them with Roles.regions"
            )
        order = np.argsort(~regions.crowd, kind="stable")
        values = self.values[regions.labels[order]] + 1  # 0 is what nothing is painted on
        painted = to_label_map(regions.masks[order], values, dtype=np.uint32).astype(np.int32)
        return np.where(painted == 0, np.int32(self.rest), painted - 1)


@dataclass(frozen=True, eq=False)
class Truth:
    """A dataset to learn from or to validate on."""

    dataset: Dataset | PanopticDataset
    classes: tuple[str, ...]  # of the model
    stuff: tuple[str, ...] = ()  # of panoptic models
    roles: Roles | None = None  # None: the model does not name the class of every pixel


def read(config: TrainConfig, model: nn.Module | Any) -> tuple[Truth, Truth | None]:  # noqa: ANN401
    """The dataset to learn from and the one to validate on, checked.

    Args:
        config: Names them in `data`.
        model: The network, for what its family learns from; its weights are not looked at.

    Raises:
        FormatError: There is none, it cannot be learnt from, or the classes of both differ.
    """
    if not config.data.train:
        raise FormatError(
            "configuration", "data.train", "must name an annotation file to learn from, got nothing."
        )
    root = Path(config.data.root)
    train = _read(root / config.data.train, model)
    if not config.data.val:
        return train, None
    val = _read(root / config.data.val, model)
    check_classes(_named(train), _named(val), str(root / config.data.val))
    return train, val


def kind_of(model: nn.Module | Any) -> str:  # noqa: ANN401
    """How the outputs of a model are read (`postprocess.decode.Kind`); "" for promptable ones."""
    return str(getattr(models.family(model), "DECODE", ""))


def _named(truth: Truth) -> Sequence[str]:
    return [*truth.classes, *(f"{name} (stuff)" for name in truth.stuff)]


def _read(path: Path, model: nn.Module | Any) -> Truth:  # noqa: ANN401
    kind, name = kind_of(model), models.family(model).__name__.rpartition(".")[2]
    panoptic = formats.read_panoptic(path)
    if panoptic is None:
        if path.is_dir():
            text = (
                "must be a COCO file, a COCO panoptic file, a Cityscapes folder, or one with images/, class_maps/ and "
                "class_names.txt, got another folder. Convert it: delineate convert FOLDER FILE.json --to coco"
            )
            raise FormatError(path, "", text)
        if kind == "panoptic":
            raise FormatError(
                path,
                "",
                f"{name} learns things and stuff: data must say what every pixel is, as COCO panoptic files and "
                "Cityscapes do. Train mask_rcnn on objects alone.",
            )
        dataset = coco.read(path)
        check_trainable(dataset, str(path))
        return Truth(dataset, dataset.classes, roles=_flat(dataset.classes) if kind == "semantic" else None)
    if kind not in ("panoptic", "semantic"):
        raise FormatError(
            path,
            "",
            f"{name} learns objects: data must be a COCO file of them, got one of what every pixel is. "
            "Train panoptic_fpn or fcn on it.",
        )
    _check_pictures(panoptic, str(path))
    roles = _panoptic(panoptic, path, name) if kind == "panoptic" else _semantic(panoptic, path)
    return Truth(panoptic, roles.classes, roles.stuff, roles)


def _panoptic(dataset: PanopticDataset, path: Path, name: str) -> Roles:
    """Things in their order, then stuff; to the branch all things are class 0."""
    things = np.array(dataset.things, bool)
    if things.all() or not things.any():
        kind, other = ("stuff", "mask_rcnn on a COCO file") if things.all() else ("things", "fcn")
        text = f"{name} must have things and stuff among its classes, got no {kind}. Train {other}."
        raise FormatError(path, "", text)
    labels = np.empty(len(things), np.int64)
    labels[things] = np.arange(things.sum())
    labels[~things] = np.arange(things.sum(), len(things))
    names = np.array(dataset.classes, object)
    values = np.concatenate([np.zeros(things.sum(), np.int64), np.arange(1, 1 + (~things).sum())])
    return Roles(tuple(names[things]), tuple(names[~things]), labels, values)


def _semantic(dataset: PanopticDataset, path: Path) -> Roles:
    """All classes count; one that is called background is the background."""
    empty = np.array([name.lower() in _BACKGROUND for name in dataset.classes], bool)
    if empty.all():
        raise FormatError(path, "", "must have a class besides the background, got none.")
    named = np.arange(len(empty))[~empty]
    labels = np.empty(len(empty), np.int64)
    labels[named] = np.arange(len(named))
    labels[empty] = len(named)
    values = np.append(np.arange(1, 1 + len(named)), 0)
    return Roles(tuple(dataset.classes[index] for index in named), (), labels, values)


def _flat(classes: tuple[str, ...]) -> Roles:
    """Objects of a COCO file as classes of pixels; what none covers is background."""
    labels = np.arange(len(classes))
    return Roles(classes, (), labels, labels + 1, rest=0)


def check_trainable(dataset: Dataset, name: str) -> None:
    """Refuses a dataset that cannot be learnt from, naming what is wrong.

    Raises:
        FormatError: No pictures, no objects, no masks, or a picture that does not exist.
    """
    _check_pictures(dataset, name)
    if not any(len(record.instances) for record in dataset):
        raise FormatError(name, "", f"none of the {len(dataset)} pictures has an annotated object.")
    for record in dataset:
        if len(record.instances) and record.instances.masks is None:
            raise FormatError(
                name, f"record {record.id}", "objects must have masks to train on, got boxes alone."
            )


def _check_pictures(dataset: Dataset | PanopticDataset, name: str) -> None:
    if not len(dataset):
        raise FormatError(name, "", "a dataset to train on must have at least one picture, got none.")
    missing = [record for record in dataset if record.path is None or not record.path.is_file()]
    if missing:
        first = missing[0].path or f"record {missing[0].id}"
        raise FormatError(
            name,
            "",
            f"{len(missing)} of {len(dataset)} pictures do not exist, the first is {first}. "
            "Put them beside the annotation file or into a folder 'images' there.",
        )


def check_classes(train: Sequence[str], val: Sequence[str], name: str) -> None:
    """Refuses a validation set whose classes are not those of the training set."""
    if tuple(train) != tuple(val):
        raise FormatError(
            name,
            "",
            f"the classes of the validation set must be those of the training set, {list(train)}, got {list(val)}.",
        )
