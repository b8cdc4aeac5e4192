"""Writes sam.json: what segment-anything 1.0 (Apache-2.0) computes with the weights of `sam_scene`.

Run once where segment-anything, torch, torchvision, pycocotools and OpenCV are installed: python make_sam.py
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as mask_api
from sam_scene import SIZES, picture, prompts, weights
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

EVERYTHING = {
    "whole": {"points_per_side": 6, "points_per_batch": 24},
    "crops": {
        "points_per_side": 6,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "points_per_batch": 7,
    },
    "cleaned": {"points_per_side": 6, "points_per_batch": 24, "min_mask_region_area": 40},
}
THRESHOLDS = {
    "pred_iou_thresh": 0.05,
    "stability_score_thresh": 0.4,
    "box_nms_thresh": 0.9,
    "crop_nms_thresh": 0.9,
}


def reference():
    """The variant "test" built from the reference's parts."""
    side, cells, width = 128, 8, 32
    model = Sam(
        ImageEncoderViT(
            img_size=side,
            embed_dim=32,
            depth=3,
            num_heads=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
            out_chans=width,
        ),
        PromptEncoder(width, (cells, cells), (side, side), 8),
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 4, 48),
            iou_head_hidden_dim=width,
        ),
    )
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights(shapes).items()})
    return model.eval()


def predictions(model):
    predictor = SamPredictor(model)
    for size in SIZES:
        predictor.set_image(picture(size))
        for name, asked in prompts(size).items():
            if size != SIZES[0] and name not in ("points", "all"):
                continue
            points = np.array(asked["points"]) if "points" in asked else None
            labels = np.array(asked["labels"]) if "labels" in asked else None
            box = np.array(asked["box"]) if "box" in asked else None
            mask = asked["mask"][None] if "mask" in asked else None
            for multimask in (False, True) if size == SIZES[0] else (True,):
                full, ious, low = predictor.predict(points, labels, box, mask, multimask, return_logits=True)
                stability = [(one > 1).sum() / max((one > -1).sum(), 1) for one in full]
                yield {
                    "size": size,
                    "prompt": name,
                    "multimask": multimask,
                    "ious": [float(x) for x in ious],
                    "low": [[float(f"{x:.6g}") for x in one.ravel()[::97]] for one in low],
                    "stability": [float(x) for x in stability],
                    "masks": [rle(one > 0) for one in full],
                }


def rle(mask):
    """COCO's compressed string."""
    return mask_api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def everything(model):
    for name, options in EVERYTHING.items():
        for size in (SIZES[4], SIZES[2]):
            generator = SamAutomaticMaskGenerator(model, output_mode="coco_rle", **options, **THRESHOLDS)
            yield {
                "name": name,
                "size": size,
                "records": [
                    {
                        "mask": record["segmentation"]["counts"],
                        "iou": record["predicted_iou"],
                        "stability": record["stability_score"],
                        "point": record["point_coords"][0],
                        "crop": record["crop_box"],
                    }
                    for record in generator.generate(picture(size))
                ],
            }


if __name__ == "__main__":
    torch.manual_seed(0)
    model = reference()
    content = {
        "options": {name: {**options, **THRESHOLDS} for name, options in EVERYTHING.items()},
        "predictions": list(predictions(model)),
        "everything": list(everything(model)),
    }
    Path(__file__).with_name("sam.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
