"""Validation of a model in training: the same decode and the same metric as everybody else uses, picture by picture."""

from __future__ import annotations

from torch import nn

from delineate.metrics.ap import Report, evaluate
from delineate.modelfile import Preprocess
from delineate.models import segment
from delineate.postprocess.decode import Thresholds
from delineate.train.data import Pictures


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
    found = truth.with_records(
        record.replace(instances=segment(model, pictures[index][0], preprocess, thresholds))
        for index, record in enumerate(truth)
    )
    return evaluate(truth, found, max_detections=(1, 10, thresholds.max_detections))
