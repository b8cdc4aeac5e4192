"""Writes mobile_sam.json: what the package mobile_sam (Apache-2.0) computes with the weights of `sam_scene`.

Run once where mobilesam-mirror 1.0.0, segment-anything, timm and torch are installed: python make_mobile_sam.py
"""

import torch
from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from mobile_sam.modeling.common import LayerNorm2d
from mobile_sam.modeling.tiny_vit_sam import TinyViT
from sam_answers import predictions, write
from sam_scene import SIZES, prompts, weights
from segment_anything import SamPredictor


class SmallTinyViT(TinyViT):
    """With another count of cells than 64 x 64, which the reference has in its code."""

    def forward(self, x):
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x.transpose(1, 2).unflatten(2, (8, 8)))


def reference():
    """The variant "test" built from the reference's parts, and the shapes of its tensors."""
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
    return model.train().eval(), kept  # the biases of attention are gathered by eval


if __name__ == "__main__":
    model, shapes = reference()
    sizes = SIZES[0], SIZES[3]
    write("mobile_sam", shapes, {"predictions": list(predictions(SamPredictor(model), sizes, prompts))})
