"""Writes efficient_sam.json: what yformer/EfficientSAM (Apache-2.0) computes with the weights of `sam_scene`.

Run once where a checkout of the repository (d525f62) and torch can be imported: python make_efficient_sam.py
"""

import numpy as np
import torch
from efficient_sam.efficient_sam import EfficientSam
from efficient_sam.efficient_sam_decoder import MaskDecoder, PromptEncoder
from efficient_sam.efficient_sam_encoder import ImageEncoderViT
from efficient_sam.two_way_transformer import TwoWayTransformer
from sam_answers import predictions, write
from sam_scene import SIZES, calm, positive_prompts, weights


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


class Predictor:
    """The reference with segment-anything's interface; masks as its ONNX files interpolate them."""

    def __init__(self, model):
        self.model = model

    @torch.inference_mode()
    def set_image(self, image):
        self.size = image.shape[:2]
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        self.embedding = self.model.get_image_embeddings(pixels)

    @torch.inference_mode()
    def predict(self, points, labels, box, mask, multimask, return_logits):
        assert (mask, multimask, return_logits) == (None, True, True)
        parts = [] if points is None else list(zip(points, labels, strict=True))
        parts += [] if box is None else [(box[:2], 2), (box[2:], 3)]
        coords = torch.tensor(np.array([[[part[0] for part in parts]]]), dtype=torch.float32)
        kinds = torch.tensor([[[part[1] for part in parts]]])
        low, ious = self.model.predict_masks(self.embedding, coords, kinds, True, *self.size, -1, -1)
        full = torch.nn.functional.interpolate(low[0], self.size, mode="bilinear")[0]
        return full.numpy(), ious.ravel().numpy(), low[0, 0].numpy()


if __name__ == "__main__":
    model = reference()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    found = predictions(Predictor(model), (SIZES[0], SIZES[1], SIZES[3]), positive_prompts, (True,))
    write("efficient_sam", shapes, {"predictions": list(found)})
