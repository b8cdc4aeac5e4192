"""How the answers of promptable references are pinned: what `make_mobile_sam.py` and its like have in common."""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api
from sam_scene import picture


def predictions(predictor, sizes, prompts, multimasks=(False, True)):
    """What a predictor with segment-anything's interface answers to the named prompts of `prompts(size)`."""
    for size in sizes:
        predictor.set_image(picture(size))
        for name, asked in prompts(size).items():
            points, labels, box = (
                np.array(asked[key]) if key in asked else None for key in ("points", "labels", "box")
            )
            mask = asked["mask"][None] if "mask" in asked else None
            for multimask in multimasks:
                full, ious, low = predictor.predict(points, labels, box, mask, multimask, return_logits=True)
                yield {
                    "size": size,
                    "prompt": name,
                    "multimask": multimask,
                    "ious": [float(x) for x in ious],
                    "low": [[float(f"{x:.6g}") for x in one.ravel()[::97]] for one in low],
                    "masks": [rle(one > 0) for one in full],
                }


def rle(mask):
    """COCO's compressed string."""
    return mask_api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def write(family, shapes, content):
    """Put the content beside the scripts, with the names and shapes of the official tensors."""
    whole = {"shapes": {name: list(shape) for name, shape in shapes.items()}, **content}
    path = Path(__file__).with_name(f"{family}.json")
    path.write_text(json.dumps(whole, separators=(",", ":")) + "\n")
