"""Tensor names of the official checkpoints of Faster R-CNN and Mask R-CNN, as those of `mask_rcnn`."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping

from torch import Tensor

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def _shifted(text: str, by: int) -> Callable[[re.Match[str]], str]:
    """`text` with {} for the first group less `by`, and the second group after it."""
    return lambda match: text.format(int(match[1]) - by) + match[2]


def _layer(match: re.Match[str]) -> str:
    """A convolution of a box head, or its norm, as detectron2 counts them."""
    return f"{match[1] or ''}{int(match[2]) - 1}.{1 if match[3] else 0}"


_TORCHVISION: tuple[_Rule, ...] = (  # the first files of torchvision; later ones have our names
    (r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)(\.\w+)$", _shifted("roi_heads.mask_head.{}.0", 1)),
)
_DETECTRON2: tuple[_Rule, ...] = (
    (r"^backbone\.bottom_up\.(?=patch_embed|layers|norm\d)", "backbone.body."),
    (r"^backbone\.fpn_lateral(\d)\.norm(\..*)$", _shifted("backbone.fpn.inner_blocks.{}.1", 2)),
    (r"^backbone\.fpn_output(\d)\.norm(\..*)$", _shifted("backbone.fpn.layer_blocks.{}.1", 2)),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.norm(\..*)$", _shifted("roi_heads.mask_head.{}.1", 1)),
    (r"(?<=^roi_heads\.box_head\.)(\d\.)?conv(\d)(\.norm)?(?=\.\w+$)", _layer),
    (r"^proposal_generator\.rpn_head\.conv\.conv(\d)\.", r"rpn.head.conv.\1.0."),
    (r"^backbone\.(?:bottom_up\.)?stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.(?:bottom_up\.)?stem\.", "backbone.body."),
    (r"^backbone\.(?:bottom_up\.)?res(\d)(\..*)$", _shifted("backbone.body.layer{}", 1)),
    (r"^((?:backbone|roi_heads\.res5)\..*)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"^backbone\.fpn_lateral(\d)(\..*)$", _shifted("backbone.fpn.inner_blocks.{}.0", 2)),
    (r"^backbone\.fpn_output(\d)(\..*)$", _shifted("backbone.fpn.layer_blocks.{}.0", 2)),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (r"^(roi_heads\.box_head\.(?:\d\.)?)fc1\.", r"\1fc6."),
    (r"^(roi_heads\.box_head\.(?:\d\.)?)fc2\.", r"\1fc7."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)(\..*)$", _shifted("roi_heads.mask_head.{}.0", 1)),
    (r"^roi_heads\.mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", "roi_heads.mask_predictor.mask_fcn_logits."),
)
_CONVOLUTIONAL: tuple[_Rule, ...] = (  # a full layer after four convolutions and a flattening
    (r"^(roi_heads\.box_head\.(?:\d\.)?)fc1\.", r"\g<1>5."),
    (r"^roi_head\.bbox_head\.(\d\.)?shared_fcs\.0\.", r"roi_heads.box_head.\g<1>5."),
)
_MMDETECTION: tuple[_Rule, ...] = (  # also the official Swin detectors'
    (r"^backbone\.", "backbone.body."),
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^neck\.fpn_convs\.(\d)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
    (r"^rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"^rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"^roi_head\.bbox_head\.(\d\.)?shared_convs\.(\d)\.conv\.", r"roi_heads.box_head.\1\2.0."),
    (r"^roi_head\.bbox_head\.(\d\.)?shared_convs\.(\d)\.bn\.", r"roi_heads.box_head.\1\2.1."),
    (r"^roi_head\.bbox_head\.(\d\.)?shared_fcs\.0\.", r"roi_heads.box_head.\g<1>fc6."),
    (r"^roi_head\.bbox_head\.(\d\.)?shared_fcs\.1\.", r"roi_heads.box_head.\g<1>fc7."),
    (r"^roi_head\.bbox_head\.(\d\.)?fc_cls\.", r"roi_heads.box_predictor.\1cls_score."),
    (r"^roi_head\.bbox_head\.(\d\.)?fc_reg\.", r"roi_heads.box_predictor.\1bbox_pred."),
    (r"^roi_head\.mask_head\.(\d\.)?convs\.(\d)\.conv\.", r"roi_heads.mask_head.\1\2.0."),
    (r"^roi_head\.mask_head\.(\d\.)?upsample\.", r"roi_heads.mask_predictor.\1conv5_mask."),
    (r"^roi_head\.mask_head\.(\d\.)?conv_logits\.", r"roi_heads.mask_predictor.\1mask_fcn_logits."),
)
_CONSTANTS = re.compile(r"^(pixel_mean|pixel_std|proposal_generator\.anchor_generator\..*)$")


def own_names(tensors: Mapping[str, Tensor], own: Container[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of our model.

    Known are our own names, which are torchvision's; those of torchvision's first files; detectron2's; and
    mmdetection's, which the official Swin detectors have, too.
    Constants that the model has no use for are left out; every other unknown name stays as it is.

    Args:
        tensors: State dict of the checkpoint.
        own: Names of the model.

    >>> import torch
    >>> list(own_names({"proposal_generator.rpn_head.conv.bias": torch.zeros(1), "pixel_std": torch.ones(3)}, ()))
    ['rpn.head.conv.0.0.bias']
    """
    foreign = any(name.startswith("proposal_generator.") for name in tensors)
    rules = _DETECTRON2 if foreign else _TORCHVISION
    if any(name.startswith("roi_head.") for name in tensors):
        rules = _MMDETECTION
    if any(re.search(r"box_head\.(\d\.)?(conv1|shared_convs\.0)\.", name) for name in tensors):
        rules = (*_CONVOLUTIONAL, *rules)
    result = {}
    for name, value in tensors.items():
        if foreign and _CONSTANTS.match(name):
            continue
        renamed = name
        for pattern, replacement in rules:
            renamed = re.sub(pattern, replacement, renamed)
        if renamed in own or not renamed.endswith(".num_batches_tracked"):
            result[renamed] = value
    return result
