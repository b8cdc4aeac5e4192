"""Writes sam2.json: what the package sam2 (Apache-2.0) computes with the weights of `sam_scene`.

Run once where sam2 1.1.0, torch and torchvision are installed: python make_sam2.py
"""

import inspect

import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import MLP
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam_answers import predictions, write
from sam_scene import SIZES, picture, prompts, weights

CELLS = [(32, 32), (16, 16), (8, 8)]  # of the variant "test", which the reference's predictors do not know
EVERYTHING = {
    "whole": {"points_per_side": 3, "points_per_batch": 5},
    "suppressed": {"points_per_side": 3, "points_per_batch": 16, "box_nms_thresh": 0.9},
    "crops": {
        "points_per_side": 3,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "pred_iou_thresh": 0.4,
        "stability_score_thresh": 0.94,
    },
}
THRESHOLDS = {  # of which some masks fall short; boxes are much alike
    "pred_iou_thresh": 0.45,
    "stability_score_thresh": 0.8,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}


class Absent(torch.nn.Module):
    """In place of the parts for videos."""

    d_model = 64


def reference():
    """The variant "test" built from the reference's parts."""
    trunk = Hiera(
        embed_dim=16,
        num_heads=1,
        stages=(1, 2, 2, 1),
        global_att_blocks=(4,),
        window_spec=(8, 4, 6, 3),
        window_pos_embed_bkg_spatial_size=(3, 3),
    )
    places = PositionEmbeddingSine(num_pos_feats=64, normalize=True, scale=None, temperature=10000)
    neck = FpnNeck(places, 64, [128, 64, 32, 16], fpn_top_down_levels=[2, 3], fpn_interp_model="nearest")
    model = SAM2Base(
        ImageEncoder(trunk, neck, scalp=1),
        Absent(),
        Absent(),
        image_size=128,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
    model.sam_mask_decoder.iou_prediction_head = MLP(
        64, 64, 4, 3, sigmoid_output=True
    )  # there always 256 inside
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights(shapes).items()})
    return model.eval()


def everything(model):
    """With fainter fine features, so that masks are smaller than the picture: `fainter` of test_sam2.py."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "conv_s0" in name:
                value.mul_(0.2)
    for name, options in EVERYTHING.items():
        for size in (SIZES[0], SIZES[2]) if name == "whole" else (SIZES[0],):
            generator = SAM2AutomaticMaskGenerator(model, output_mode="coco_rle", **{**THRESHOLDS, **options})
            generator.predictor._bb_feat_sizes = CELLS
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


def defaults():
    """What the reference's generator does unless told otherwise."""
    given = inspect.signature(SAM2AutomaticMaskGenerator.__init__).parameters
    return {name: value.default for name, value in given.items() if isinstance(value.default, int | float)}


if __name__ == "__main__":
    model = reference()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = CELLS
    content = {
        "predictions": list(predictions(predictor, (SIZES[0], SIZES[3]), prompts)),
        "options": {name: {**THRESHOLDS, **options} for name, options in EVERYTHING.items()},
        "defaults": defaults(),
        "everything": list(everything(model)),
    }
    write("sam2", shapes, content)
