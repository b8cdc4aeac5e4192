"""Writes efficient_sam.json: what yformer/EfficientSAM (Apache-2.0) computes with the weights of `sam_scene`.

Run once where a checkout of the repository (d525f62) and torch can be imported: python make_efficient_sam.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from efficient_sam.efficient_sam import EfficientSam
from efficient_sam.efficient_sam_decoder import MaskDecoder, PromptEncoder
from efficient_sam.efficient_sam_encoder import ImageEncoderViT
from efficient_sam.two_way_transformer import TwoWayTransformer
from pycocotools import mask as mask_api
from sam_scene import SIZES, calm, picture, positive_prompts, weights


def reference():
    """The variant "test" built from the reference's parts."""
    side, width, activation = 128, 32, torch.nn.GELU
    model = EfficientSam(
        ImageEncoderViT(side, 16, 3, 32, "layer_norm", 2, 2, 4.0, [width, width], activation),
        PromptEncoder(width, (8, 8), (side, side)),
        6,
        MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(2, width, 4, 48, activation, normalize_before_activation=False),
            num_multimask_outputs=3,
            activation=activation,
            normalization_type="layer_norm",
            normalize_before_activation=False,
            iou_head_depth=2,
            iou_head_hidden_dim=width,
            upscaling_layer_dims=[width // 4, width // 8],
        ),
    )
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    drawn = calm(weights(shapes))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in drawn.items()})
    return model.eval()


@torch.inference_mode()
def predictions(model):
    for size in (SIZES[0], SIZES[1], SIZES[3]):
        pixels = torch.from_numpy(picture(size)).permute(2, 0, 1)[None].float() / 255
        embedding = model.get_image_embeddings(pixels)
        for name, asked in positive_prompts(size).items():
            corners = [asked["box"][:2], asked["box"][2:]] if "box" in asked else []
            points = torch.tensor([[asked.get("points", []) + corners]])
            labels = torch.tensor([[asked.get("labels", []) + [2, 3][: len(corners)]]])
            low, ious = model.predict_masks(embedding, points, labels, True, *size, -1, -1)
            full = torch.nn.functional.interpolate(low[0], size, mode="bilinear")[0]  # as their ONNX files do
            yield {
                "size": size,
                "prompt": name,
                "ious": ious.ravel().tolist(),
                "low": [[float(f"{x:.6g}") for x in one.ravel()[::97].tolist()] for one in low[0, 0]],
                "masks": [rle((one >= 0).numpy()) for one in full],
            }


def rle(mask):
    """COCO's compressed string."""
    return mask_api.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


if __name__ == "__main__":
    model = reference()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    content = {"shapes": shapes, "predictions": list(predictions(model))}
    Path(__file__).with_name("efficient_sam.json").write_text(
        json.dumps(content, separators=(",", ":")) + "\n"
    )
