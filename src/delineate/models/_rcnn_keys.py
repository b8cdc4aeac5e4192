"""Tensor names of the official checkpoints of Faster R-CNN and Mask R-CNN, as those of `mask_rcnn`."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping

from torch import Tensor

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def _shifted(text: str, by: int) -> Callable[[re.Match[str]], str]:
    """`text` with {} for the first group less `by`, and the second group after it."""
    return lambda match: text.format(int(match[1]) - by) + match[2]


_TORCHVISION: tuple[_Rule, ...] = (  # the first files of torchvision; later ones have our names
    (r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)(\.\w+)$", _shifted("roi_heads.mask_head.{}.0", 1)),
)
_DETECTRON2: tuple[_Rule, ...] = (
    (r"^backbone\.(?:bottom_up\.)?stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.(?:bottom_up\.)?stem\.", "backbone.body."),
    (r"^backbone\.(?:bottom_up\.)?res(\d)(\..*)$", _shifted("backbone.body.layer{}", 1)),
    (r"\.conv(\d)\.norm\.(?=\w+$)", r".bn\1."),
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
_CONSTANTS = re.compile(r"^(pixel_mean|pixel_std|proposal_generator\.anchor_generator\..*)$")


def own_names(tensors: Mapping[str, Tensor], own: Container[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of our model.

    Known are our own names, which are torchvision's; those of torchvision's first files; and detectron2's.
    Constants that the model has no use for are left out; every other unknown name stays as it is.

    Args:
        tensors: State dict of the checkpoint.
        own: Names of the model.

    >>> import torch
    >>> own_names({"backbone.bottom_up.res2.0.conv1.norm.bias": torch.zeros(1), "pixel_std": torch.ones(3)}, ())
    {'backbone.body.layer1.0.bn1.bias': tensor([0.])}
    """
    foreign = any(name.startswith("proposal_generator.") for name in tensors)
    rules = _DETECTRON2 if foreign else _TORCHVISION
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
