"""Validation of a model in training: the same decode and the same metric as everybody else uses, picture by picture."""

from __future__ import annotations

import torch
from torch import nn

from delineate.dataset import Dataset
from delineate.metrics.ap import Report, evaluate
from delineate.models import family
from delineate.predict import Preprocess
from delineate.postprocess.decode import Thresholds
from delineate.train.data import Pictures


@torch.inference_mode()
def validate(
    model: nn.Module, pictures: Pictures, preprocess: Preprocess, thresholds: Thresholds, device: torch.device
) -> Report:
    """Mask AP of a model on a dataset; one picture at a time, masks as runs: memory does not grow with the objects.

    Args:
        model: A model of `delineate.models`, in eval mode.
        pictures: The validation set.
        preprocess: How a picture becomes the network's input.
        thresholds: Which detections count.
        device: Where the model is.

    Returns:
        The COCO report; `Report.ap` is mask AP at 0.50:0.95.
    """
    records = []
    for index, record in enumerate(pictures.dataset):
        image, _ = pictures[index]
        tensor, placement = preprocess.apply(image)
        outputs = model.export(torch.from_numpy(tensor).to(device))
        instances = family(model).decode(
            [output.float().cpu().numpy() for output in outputs],
            placement=placement,
            size=image.shape[:2],
            input_size=tensor.shape[2:],
            thresholds=thresholds,
            classes=len(pictures.dataset.classes),
        )
        records.append(record.replace(instances=instances))
    predictions = Dataset(tuple(records), pictures.dataset.classes)
    return evaluate(pictures.dataset, predictions, max_detections=(1, 10, thresholds.max_detections))
