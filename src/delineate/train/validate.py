"""Validation of a model in training: the same decode and the same metric as everybody else uses, picture by picture."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from delineate.dataset import Dataset
from delineate.metrics.ap import Report, evaluate
from delineate.modelfile import Preprocess
from delineate.postprocess.decode import Thresholds
from delineate.train.data import Pictures


@torch.inference_mode()
def validate(
    model: nn.Module, family: ModuleType, pictures: Pictures, preprocess: Preprocess, thresholds: Thresholds
) -> Report:
    """Mask AP of a model on a dataset; one picture at a time, masks as runs: memory does not grow with the objects.

    Args:
        model: A model of `delineate.models`, in eval mode.
        family: The module that it comes from; its `decode` is the one that exported files use.
        pictures: The validation set, unstretched.
        preprocess: How a picture becomes the network's input.
        thresholds: Which detections count.

    Returns:
        The COCO report; `Report.ap` is mask AP at 0.50:0.95.
    """
    device = next(model.parameters()).device
    records = []
    for index, record in enumerate(pictures.dataset):
        image, _ = pictures[index]
        tensor, placement = preprocess.apply(image)
        outputs = model.decoded(model(torch.from_numpy(tensor).to(device)))
        instances = family.decode(
            [output.float().cpu().numpy() for output in outputs],
            placement=placement,
            size=image.shape[:2],
            input_size=tensor.shape[2:],
            thresholds=thresholds,
            classes=len(pictures.dataset.classes),
            strides=model.config.strides,
        )
        records.append(record.replace(instances=instances))
    predictions = Dataset(tuple(records), pictures.dataset.classes)
    return evaluate(pictures.dataset, predictions, max_detections=(1, 10, thresholds.max_detections))
