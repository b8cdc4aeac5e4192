"""Validation of a model in training: the same decode and the same metric as everybody else uses, picture by picture."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import numpy as np
from torch import nn

from delineate.dataset import Dataset
from delineate.metrics.ap import Report, evaluate
from delineate.metrics.panoptic import PanopticReport, evaluate_panoptic
from delineate.metrics.semantic import UNKNOWN, SemanticReport, Tally
from delineate.modelfile import Preprocess
from delineate.models import fcn, panoptic_fpn, segment
from delineate.panoptic import Panoptic, PanopticDataset, PanopticRecord
from delineate.postprocess.decode import Thresholds
from delineate.postprocess.panoptic import Rules
from delineate.train.data import Pictures
from delineate.train.truth import Roles, kind_of

DECIDING = MappingProxyType({"panoptic": "pq", "semantic": "miou"})
"""Kind of network -> the figure that the best checkpoint is selected by; of all others it is mask AP."""


def figures(
    model: nn.Module, pictures: Pictures, preprocess: Preprocess, thresholds: Thresholds, rules: Rules
) -> dict[str, float]:
    """What a validation says of a model, by the names of the log: mask AP, panoptic quality or mean IoU.

    Args:
        model: A model of `delineate.models` that takes no prompts, in eval mode.
        pictures: The validation set, as it was read.
        preprocess: How a picture becomes the network's input.
        thresholds: Which detections count.
        rules: What becomes a segment, of panoptic models.
    """
    kind = kind_of(model)
    if kind == "panoptic":
        quality = validate_panoptic(model, pictures, preprocess, thresholds, rules)
        return {"pq": quality.all.pq, "pq_things": quality.thing.pq, "pq_stuff": quality.stuff.pq}
    if kind == "semantic":
        maps = validate_semantic(model, pictures, preprocess)
        return {"miou": maps.mean_iou, "accuracy": maps.accuracy}
    report = validate(model, pictures, preprocess, thresholds)
    return {"mask_ap": report.ap, "mask_ap50": report.ap50, "mask_ap75": report.ap75}


def validate(model: nn.Module, pictures: Pictures, preprocess: Preprocess, thresholds: Thresholds) -> Report:
    """Mask AP of a model on a dataset; one picture at a time, masks as runs: memory does not grow with the objects.

    Args:
        model: A model of `delineate.models`, in eval mode.
        pictures: The validation set, as it was read.
        preprocess: How a picture becomes the network's input.
        thresholds: Which detections count.

    Returns:
        The COCO report; `Report.ap` is mask AP at 0.50:0.95.
    """
    truth = pictures.dataset
    if not isinstance(truth, Dataset):
        raise TypeError("validate: pictures must be of a Dataset, got what says the class of every pixel.")
    found = truth.with_records(
        record.replace(instances=segment(model, pictures[index][0], preprocess, thresholds))
        for index, record in enumerate(truth)
    )
    return evaluate(truth, found, max_detections=(1, 10, thresholds.max_detections))


def validate_panoptic(
    model: nn.Module,
    pictures: Pictures,
    preprocess: Preprocess,
    thresholds: Thresholds,
    rules: Rules,
) -> PanopticReport:
    """Panoptic quality of a model, as `delineate eval` counts it; one pair of maps is in memory at a time.

    Args:
        model: A Panoptic FPN, in eval mode.
        pictures: The validation set with its roles.
        preprocess: How a picture becomes the network's input.
        thresholds: Which detections are looked at.
        rules: What becomes a segment.
    """
    truth, roles = _panoptic(pictures)
    network = cast("panoptic_fpn.PanopticFPN", model)
    own = np.argsort(roles.labels)  # label of the model -> class of the data

    def found(index: int) -> Panoptic:
        made = panoptic_fpn.segment_panoptic(network, pictures[index][0], preprocess, thresholds, rules)
        return Panoptic(made.map, made.ids, own[made.labels], made.things, scores=made.scores)

    records = [
        PanopticRecord(None, record.size, lambda index=index: found(index), record.id)  # type: ignore[misc]
        for index, record in enumerate(truth)
    ]
    return evaluate_panoptic(truth, PanopticDataset(tuple(records), truth.classes, truth.things))


def validate_semantic(
    model: nn.Module,
    pictures: Pictures,
    preprocess: Preprocess,
) -> SemanticReport:
    """Mean IoU of a model over its classes, the background included where the truth has any.

    Args:
        model: An FCN, in eval mode.
        pictures: The validation set with its roles.
        preprocess: How a picture becomes the network's input.
    """
    roles = pictures.roles
    if roles is None:
        raise ValueError("validate_semantic: pictures must come with roles, got none.")
    first = 0 if roles.rest == 0 or 0 in roles.values else 1  # without a background it is no class to find
    tally = Tally(("background", *roles.classes)[first:])
    for index in range(len(pictures.dataset)):
        image, regions = pictures[index]
        truth = roles.semantic(regions)
        found = fcn.segment_classes(cast("fcn.FCN", model), image, preprocess).classes
        tally.add(np.where(truth == UNKNOWN, UNKNOWN, truth - first), found - first)
    return tally.report()


def _panoptic(pictures: Pictures) -> tuple[PanopticDataset, Roles]:
    if not isinstance(pictures.dataset, PanopticDataset) or pictures.roles is None:
        raise TypeError("validate_panoptic: pictures must be of a PanopticDataset with its roles.")
    return pictures.dataset, pictures.roles
