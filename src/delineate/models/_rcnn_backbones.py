"""What lies below the pyramid of `mask_rcnn`: the backbones that its configuration can name."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from delineate.models._rcnn_config import Backbone
from delineate.nn.resnet import FrozenBatchNorm, Norm, ResNet
from delineate.nn.spinenet import SpineNet, SpineNetSize
from delineate.nn.swin import Swin, SwinSize


def body(part: Backbone) -> ResNet | Swin | SpineNet:
    """The backbone, with the parts frozen that do not learn.

    >>> body(Backbone(swin=SwinSize(8, (1, 1, 1, 1), (1, 1, 1, 1)))).channels
    (8, 16, 32, 64)
    """
    norm: Norm = nn.BatchNorm2d if part.norm == "batch" else FrozenBatchNorm
    found: ResNet | Swin | SpineNet
    match part:
        case Backbone(swin=SwinSize() as size):
            found = Swin(size, drop_path=part.drop_path)
        case Backbone(spinenet=SpineNetSize() as size):
            found = SpineNet(size, drop_path=part.drop_path)
        case _:
            found = ResNet(
                part.blocks,
                lambda n: cast("Any", norm)(n, eps=part.eps),
                stem=part.stem,
                groups=part.groups,
                group_width=part.group_width,
                first_strided=part.first_strided,
            )
    found.freeze(part.frozen)
    return found
