"""Writes mobile_sam.json: what the package mobile_sam (Apache-2.0) computes with the weights of `sam_scene`.

Run once where mobilesam-mirror 1.0.0, segment-anything, timm and torch are installed: python make_mobile_sam.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from mobile_sam.modeling.common import LayerNorm2d
from mobile_sam.modeling.tiny_vit_sam import TinyViT
from sam_scene import SIZES, picture, prompts, weights
from segment_anything import SamPredictor


class SmallTinyViT(TinyViT):
    """With another count of cells than 64 x 64, which the reference has in its code."""

    def forward(self, x):
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x.transpose(1, 2).unflatten(2, (8, 8)))


def reference():
    """The variant "test" built from the reference's parts."""
    side, cells, width = 128, 8, 32
    encoder = SmallTinyViT(
        img_size=side,
        num_classes=10,
        embed_dims=[16, 24, 32, 48],
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 2, 3],
        window_sizes=[7, 7, 3, 8],
        drop_path_rate=0.0,
    )
    encoder.layers[2].downsample.conv2.c.stride = (1, 1)  # the reference does this at its own widths only
    encoder.neck = torch.nn.Sequential(
        torch.nn.Conv2d(48, width, 1, bias=False),
        LayerNorm2d(width),
        torch.nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width),
    )
    model = Sam(
        encoder,
        PromptEncoder(width, (cells, cells), (side, side), 8),
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 4, 48),
            iou_head_hidden_dim=width,
            num_multimask_outputs=3,
        ),
    )
    kept = {
        name: value.shape
        for name, value in model.state_dict().items()
        if not name.startswith(("image_encoder.norm_head.", "image_encoder.head."))
    }
    drawn = {name: torch.from_numpy(value) for name, value in weights(kept).items()}
    model.load_state_dict(drawn, strict=False)
    return model.train().eval()  # the biases of attention are gathered by eval


def predictions(model):
    predictor = SamPredictor(model)
    for size in (SIZES[0], SIZES[3]):
        predictor.set_image(picture(size))
        for name, asked in prompts(size).items():
            points = np.array(asked["points"]) if "points" in asked else None
            labels = np.array(asked["labels"]) if "labels" in asked else None
            box = np.array(asked["box"]) if "box" in asked else None
            mask = asked["mask"][None] if "mask" in asked else None
            for multimask in (False, True):
                _, ious, low = predictor.predict(points, labels, box, mask, multimask, return_logits=True)
                yield {
                    "size": size,
                    "prompt": name,
                    "multimask": multimask,
                    "ious": [float(x) for x in ious],
                    "low": [[float(f"{x:.6g}") for x in one.ravel()[::97]] for one in low],
                }


if __name__ == "__main__":
    content = {"predictions": list(predictions(reference()))}
    Path(__file__).with_name("mobile_sam.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
