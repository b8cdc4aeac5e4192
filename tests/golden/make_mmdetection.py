"""Writes mmdetection.json: what mmdetection (Apache-2.0) finds in the batch of `mmdetection_scene`, and its losses.

The networks are those of the official Swin detectors (configs/swin of SwinTransformer's fork, Apache-2.0) with few
and narrow layers. Run once where torch, torchvision, mmdet 3.3, mmengine and mmcv-lite 2.1 are installed:
python make_mmdetection.py. Suppression and RoIAlign are torchvision's, as mmcv-lite has none.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import mmdetection_scene as scene
import torch
import torchvision


class Operators(ModuleType):
    """In place of mmcv's compiled operators, of which only suppression and RoIAlign are called."""

    nms = staticmethod(
        lambda boxes, scores, iou_threshold, **_: torchvision.ops.nms(boxes, scores, iou_threshold)
    )

    @staticmethod
    def roi_align_forward(features, regions, output, *_, spatial_scale, sampling_ratio, aligned, **sides):
        size = sides["aligned_height"], sides["aligned_width"]
        options = spatial_scale, sampling_ratio, aligned
        output.copy_(torchvision.ops.roi_align(features, regions, size, *options))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_, **__):
            raise NotImplementedError(name)

        return absent


import mmcv  # noqa: E402

mmcv._ext = sys.modules["mmcv._ext"] = Operators("mmcv._ext")

from mmdet.models.test_time_augs import merge_aug_masks  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.bbox import bbox2roi  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

register_all_modules()


def coder(*stds):
    return {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": list(stds)}


def assigner(high, low, least, *, rescue):
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": high,
        "neg_iou_thr": low,
        "min_pos_iou": least,
        "match_low_quality": rescue,
        "ignore_iof_thr": -1,
    }


def sampler(*, truth):
    """Everything is drawn, so that nothing hangs on a random generator."""
    return {"type": "RandomSampler", "num": 100_000, "pos_fraction": 1.0, "add_gt_as_proposals": truth}


def network(kind):
    """The configuration of the official detector of that kind, made small."""
    cascade = kind == "cascade"
    loss = {"type": "CrossEntropyLoss", "loss_weight": 1.0}
    align = {"type": "RoIAlign", "sampling_ratio": 0}
    pool = {"type": "SingleRoIExtractor", "out_channels": scene.CHANNELS, "featmap_strides": [4, 8, 16, 32]}
    box = {
        "type": "ConvFCBBoxHead" if cascade else "Shared2FCBBoxHead",
        "in_channels": scene.CHANNELS,
        "conv_out_channels": scene.CHANNELS,
        "fc_out_channels": scene.HIDDEN,
        "roi_feat_size": 7,
        "num_classes": scene.CLASSES,
        "reg_class_agnostic": False,
        "bbox_coder": coder(0.1, 0.1, 0.2, 0.2),
        "loss_cls": loss | {"use_sigmoid": False},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }
    if cascade:
        norm = {"type": "BN", "requires_grad": True}
        box |= {"num_shared_convs": 4, "num_shared_fcs": 1, "reg_decoded_bbox": True, "norm_cfg": norm}
        box["loss_bbox"] = {"type": "GIoULoss", "loss_weight": 10.0}
        stds = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
        boxes = [box | {"bbox_coder": coder(*std)} for std in stds]
    mask = {
        "type": "FCNMaskHead",
        "num_convs": 4,
        "in_channels": scene.CHANNELS,
        "conv_out_channels": scene.CHANNELS,
        "num_classes": scene.CLASSES,
        "loss_mask": loss | {"use_mask": True},
    }
    heads = {
        "type": "CascadeRoIHead" if cascade else "StandardRoIHead",
        "bbox_roi_extractor": pool | {"roi_layer": align | {"output_size": 7}},
        "bbox_head": boxes if cascade else box,
        "mask_roi_extractor": pool | {"roi_layer": align | {"output_size": 14}},
        "mask_head": mask,
    }
    if cascade:
        heads |= {"num_stages": 3, "stage_loss_weights": [1, 0.5, 0.25]}
    rpn = {
        "type": "RPNHead",
        "in_channels": scene.CHANNELS,
        "feat_channels": scene.CHANNELS,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [8],
            "ratios": [0.5, 1.0, 2.0],
            "strides": [4, 8, 16, 32, 64],
        },
        "bbox_coder": coder(1.0, 1.0, 1.0, 1.0),
        "loss_cls": loss | {"use_sigmoid": True},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1 / 9} if cascade else {"type": "L1Loss"},
    }
    stages = [
        {
            "assigner": assigner(iou, iou, iou, rescue=not cascade),
            "sampler": sampler(truth=True),
            "mask_size": 28,
            "pos_weight": -1,
        }
        for iou in ((0.5, 0.6, 0.7) if cascade else (0.5,))
    ]
    proposals = {"nms": {"type": "nms", "iou_threshold": 0.7}, "min_bbox_size": 0}
    learning = {
        "rpn": {
            "assigner": assigner(0.7, 0.3, 0.3, rescue=True),
            "sampler": sampler(truth=False),
            "allowed_border": 0 if cascade else -1,
            "pos_weight": -1,
        },
        "rpn_proposal": proposals | {"nms_pre": 2000, "max_per_img": 2000 if cascade else 1000},
        "rcnn": stages if cascade else stages[0],
    }
    finding = {
        "rpn": proposals | {"nms_pre": 1000, "max_per_img": 1000},
        "rcnn": {
            "score_thr": 0.0,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": scene.DETECTIONS,
            "mask_thr_binary": 0.5,
        },
    }
    widths = [scene.SWIN["embed_dims"] * 2**stage for stage in range(4)]
    config = {
        "type": "CascadeRCNN" if cascade else "MaskRCNN",
        "backbone": {"type": "SwinTransformer", "drop_path_rate": 0.0, **scene.SWIN},
        "neck": {"type": "FPN", "in_channels": widths, "out_channels": scene.CHANNELS, "num_outs": 5},
        "rpn_head": rpn,
        "roi_head": heads,
        "train_cfg": learning,
        "test_cfg": finding,
    }
    model = MODELS.build(ConfigDict(config))
    state = model.state_dict()
    shapes = {
        name: tuple(value.shape)
        for name, value in state.items()
        if not name.endswith(("num_batches_tracked", "relative_position_index"))
    }
    values = scene.fill(shapes)
    model.load_state_dict({**state, **{name: torch.from_numpy(value) for name, value in values.items()}})
    return model, shapes


def samples():
    """What mmdetection wants to know of the pictures, with the objects to learn."""
    found = []
    for number, size in enumerate(scene.SIZES):
        sample = DetDataSample(metainfo={"img_shape": size, "pad_shape": (64, 96), "ori_shape": size})
        sample.set_metainfo({"scale_factor": (1.0, 1.0), "batch_input_shape": (64, 96)})
        truth = {"bboxes": torch.tensor(scene.BOXES[number]).float()}
        truth["labels"] = torch.tensor(scene.LABELS[number])
        truth["masks"] = BitmapMasks(list(scene.masks(number).astype("uint8")), 64, 96)
        sample.gt_instances = InstanceData(**truth)
        found.append(sample)
    return found


@torch.no_grad()
def found_by(model):
    """Boxes, scores, labels, the mean and spread of every mask's probabilities, and its pixels, by picture."""
    model.eval()
    heads, given = model.roi_head, samples()
    features = model.extract_feat(torch.from_numpy(scene.images()))
    metas = [sample.metainfo for sample in given]
    proposals = model.rpn_head.predict(features, given, rescale=False)
    detections = heads.predict_bbox(features, metas, proposals, heads.test_cfg, rescale=False)
    regions = bbox2roi([part.bboxes for part in detections])
    if isinstance(heads.mask_head, torch.nn.ModuleList):
        drawn = [heads._mask_forward(stage, features, regions)["mask_preds"].sigmoid() for stage in range(3)]
        drawn = merge_aug_masks(drawn, metas[0])
    else:
        drawn = heads._mask_forward(features, regions)["mask_preds"].sigmoid()
    drawn = drawn.split([len(part) for part in detections])
    pasted = heads.predict_mask(features, metas, detections, rescale=False)
    pictures = []
    for before, part, masks in zip(proposals, pasted, drawn, strict=True):
        masks = masks[range(len(masks)), part.labels]
        pictures.append(
            {
                "proposals": before.bboxes[:5].tolist(),
                "count": len(before),
                "boxes": part.bboxes.tolist(),
                "scores": part.scores.tolist(),
                "labels": part.labels.tolist(),
                "masks": masks.mean((1, 2)).tolist(),
                "spread": masks.std((1, 2)).tolist(),
                "pixels": part.masks.sum((1, 2)).tolist(),
            }
        )
    return pictures


def losses_of(model):
    """The losses of the batch, added up over the levels and the stages."""
    model.train()
    found = model.loss(torch.from_numpy(scene.images()), samples())
    parts = {"objectness": ["loss_rpn_cls"], "proposal": ["loss_rpn_bbox"]}
    for name, theirs in (("class", "loss_cls"), ("box", "loss_bbox"), ("mask", "loss_mask")):
        parts[name] = [key for key in found if key.endswith(theirs)]
    flat = {key: sum(value) if isinstance(value, list) else value for key, value in found.items()}
    return {name: sum(flat[key].item() for key in keys) for name, keys in parts.items()}


def main():
    """Both kinds, with the names and shapes of their tensors."""
    found = {}
    for kind in scene.KINDS:
        model, shapes = network(kind)
        found[kind] = {"tensors": shapes, "pictures": found_by(model), "losses": losses_of(model)}
    text = json.dumps(found, indent=None, separators=(",", ":"))
    Path(__file__).with_name("mmdetection.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
