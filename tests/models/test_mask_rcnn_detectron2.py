"""The same weights give what detectron2 gives, through the names of its files: boxes, scores, labels and masks.

Runs where detectron2 is importable (its Python sources, with torchvision beside them, are enough); CI has neither.
"""

# ruff: noqa: E402  (torch is optional)

import dataclasses

import pytest

torch = pytest.importorskip("torch", reason="models need the extra [torch]")
zoo = pytest.importorskip(
    "detectron2.model_zoo", reason="the oracle is detectron2, which is not installed", exc_type=ImportError
)

import numpy as np
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess

from delineate import models
from delineate.image import read_image
from delineate.masks import Masks
from delineate.models import mask_rcnn
from delineate.models._rcnn_keys import own_names
from delineate.postprocess.decode import Placement, Thresholds, crops

CONFIGS = {
    "r50_fpn_d2": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "x101_32x8d_fpn": "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml",
    "r50_c4": "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "cascade_r50_fpn": "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml",
}


def reference(variant):
    """detectron2's model with weights whose outputs differ enough that no order hangs on rounding."""
    config = zoo.get_config(CONFIGS[variant])
    config.MODEL.DEVICE = "cpu"
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    network = build_model(config).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("norm.weight"):
                value.uniform_(0.5, 0.8)
            elif name.endswith(("norm.bias", "norm.running_mean")):
                value.uniform_(-0.1, 0.1)
        for name, value in network.named_parameters():
            if "cls_score.weight" in name:
                value.sub_(value.mean(1, keepdim=True)).mul_(6)
            elif name.endswith(("objectness_logits.weight", "anchor_deltas.weight")):
                value.mul_(3)
            elif name.endswith("mask_head.predictor.weight"):
                value.mul_(100)
    return network


def ours(variant, theirs):
    config = mask_rcnn.VARIANTS[variant]
    heads = dataclasses.replace(config.heads, choice=config.heads.choice._replace(score=0.0))
    model = models.build(f"mask_rcnn-{variant}", heads=heads)
    model.load_state_dict(own_names(theirs.state_dict(), model.state_dict()), strict=True)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("variant", CONFIGS)
def test_detections_are_detectron2s(shared, variant):
    theirs = reference(variant)
    model = ours(variant, theirs)
    for path in sorted((shared / "data" / "coco128_seg").rglob("*.jpg"))[:2]:
        image = read_image(path)[:240, :320]
        size = image.shape[:2]
        bgr = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).permute(2, 0, 1)
        expected = theirs.inference([{"image": bgr}], do_postprocess=False)[0]
        given = model.config.preprocess
        scale = np.float32(255)
        mean, std = np.float32(given.mean) * scale, np.float32(given.std) * scale
        multiple = max(model.config.strides) if model.config.pyramid else 1
        tensor = (bgr.float() - torch.from_numpy(mean).view(3, 1, 1)) / torch.from_numpy(std).view(3, 1, 1)
        pad = [(-side) % multiple for side in size]
        tensor = torch.nn.functional.pad(tensor, (0, pad[1], 0, pad[0]))[None]
        found = model(tensor, torch.tensor([size]))

        count = len(expected)
        assert count > 20
        assert not found.scores[0, count:].any()
        distance = (found.boxes[0, :count, None] - expected.pred_boxes.tensor).abs().amax(2)
        distance[found.labels[0, :count, None] != expected.pred_classes] = torch.inf
        twin = distance.argmin(0)  # scores that differ in their last bits may stand in another order
        assert sorted(twin.tolist()) == list(range(count))
        boxes, scores, labels, logits = (part[0, :count][twin] for part in found[:4])
        torch.testing.assert_close(scores, expected.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(boxes, expected.pred_boxes.tensor, rtol=1e-4, atol=2e-3)
        assert torch.equal(labels, expected.pred_classes)
        torch.testing.assert_close(logits.sigmoid(), expected.pred_masks[:, 0], rtol=1e-4, atol=1e-4)

        pasted = detector_postprocess(expected, *size)
        decoded = crops(
            [boxes.numpy(), scores.numpy(), labels.numpy(), logits.numpy()],
            placement=Placement(1.0, 1.0, 0, 0),
            size=size,
            thresholds=Thresholds(score=0.0),
            classes=80,
        )
        bitmaps = Masks.from_dense(pasted.pred_masks.numpy())
        filled = bitmaps[bitmaps.areas > 0]  # ours leave out what has no pixel
        assert len(decoded) == len(filled) > 10
        assert decoded.masks.iou(filled).max(0).min() > 0.98  # a pixel on the border of a small mask
